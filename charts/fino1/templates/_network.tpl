{{/* Egress rule for the TCP ports of the world outside that a unit needs, if any. */}}
{{- define "fino1.egressRule" -}}
{{- with include "fino1.ports" . | fromJsonArray }}
- ports:
    {{- range . }}
    - port: {{ atoi . }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- end -}}

{{/* Those ports, of five digits each, as JSON: HTTPS for a hub, an endpoint's, trackers' servers'. */}}
{{- define "fino1.ports" -}}
{{- $ports := list -}}
{{- if and (include "fino1.readsHub" .) (not .doc.offline) -}}
{{- $ports = append $ports "00443" -}}
{{- end -}}
{{- range include "fino1.urls" . | fromJsonArray -}}
{{- with include "fino1.port" . -}}
{{- $ports = append $ports . -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Port of a URL, with five digits; of another text nothing. */}}
{{- define "fino1.port" -}}
{{- with regexFind "^https?://[^/?#]*" . -}}
{{- $port := ternary "80" "443" (hasPrefix "http:" .) -}}
{{- $port = regexFind ":[0-9]{1,5}$" . | trimPrefix ":" | default $port -}}
{{- atoi $port | printf "%05d" -}}
{{- end -}}
{{- end -}}

{{/* URLs of endpoints, of the reward's judge, of trackers' servers and of a store, as JSON. */}}
{{- define "fino1.urls" -}}
{{- $env := .doc.env -}}
{{- $urls := list -}}
{{- $isJudged := and (eq .doc.method "ppo") (has .doc.ppo.reward.source (list "judge" "mix")) -}}
{{- range ternary (list .doc.ppo.reward.judge) .asked $isJudged -}}
{{- $urls = concat $urls (compact (list .base_url)) -}}
{{- end -}}
{{- $hasKey := or (hasKey $env "WANDB_API_KEY") (hasKey .doc.secretEnv "WANDB_API_KEY") -}}
{{- if and $hasKey (has "wandb" .doc.report_to) (not .doc.offline) -}}
{{- $urls = append $urls ($env.WANDB_BASE_URL | default "https://api.wandb.ai") -}}
{{- end -}}
{{- if and (has "mlflow" .doc.report_to) $env.MLFLOW_TRACKING_URI -}}
{{- $urls = append $urls $env.MLFLOW_TRACKING_URI -}}
{{- end -}}
{{- with and (eq .doc.method "eval") .doc.eval.store -}}
{{- $endpoint := coalesce $env.AWS_ENDPOINT_URL_S3 $env.AWS_ENDPOINT_URL "https://s3.amazonaws.com" -}}
{{- $urls = append $urls (ternary $endpoint (regexReplaceAll "^[a-z0-9]+:" . "https:") (regexMatch "^s3a?:" .)) -}}
{{- end -}}
{{- toJson $urls -}}
{{- end -}}

{{/* Does the unit read rows or a model from the hub? */}}
{{- define "fino1.readsHub" -}}
{{- $mine := get .doc .doc.method -}}
{{- $blocks := concat (default list $mine.tasks) (default list $mine.exclude) .asked -}}
{{- $models := list -}}
{{- if not .asked -}}
{{- $models = list .doc.model -}}
{{- if eq .doc.method "ppo" -}}
{{- $models = append $models .doc.ppo.value_model -}}
{{- if eq .doc.ppo.reward.source "model" -}}
{{- $models = append $models .doc.ppo.reward.model -}}
{{- end -}}
{{- end -}}
{{- $blocks = concat (list .doc.data) .doc.data.exclude -}}
{{- end -}}
{{- $found := not (or .asked .doc.data.task .doc.data.path .doc.data.run) -}}
{{- range concat $blocks $models -}}
{{- $found = or $found (hasKey . "hub") (and (not .path) (ne (include "fino1.ownTask" .) "")) -}}
{{- end -}}
{{- range $models -}}
{{- $found = or $found (not (or .path .run .init)) -}}
{{- end -}}
{{- ternary "true" "" $found -}}
{{- end -}}
