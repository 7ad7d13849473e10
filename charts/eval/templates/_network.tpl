{{/* TCP ports of the world outside that a unit needs, as JSON: HTTPS for a hub, an endpoint's, trackers'. As fino1/k8s/plan.py. */}}
{{- define "fino1.ports" -}}
{{- $doc := .doc -}}
{{- $blocks := list -}}{{- $models := list -}}
{{- if .model -}}
  {{- $blocks = concat $doc.eval.tasks (list .model) -}}
{{- else -}}
  {{- $models = list $doc.model -}}
  {{- if eq $doc.method "ppo" -}}
    {{- $models = append $models $doc.ppo.value_model -}}
    {{- if eq $doc.ppo.reward.source "model" -}}{{- $models = append $models $doc.ppo.reward.model -}}{{- end -}}
  {{- end -}}
  {{- $blocks = concat (list $doc.data) $doc.data.exclude $models -}}
{{- end -}}
{{- $hub := not (or .model $doc.data.task $doc.data.path) -}}
{{- range $blocks -}}{{- if .hub -}}{{- $hub = true -}}{{- end -}}{{- end -}}
{{- range $models -}}{{- if not (or .path .run .init) -}}{{- $hub = true -}}{{- end -}}{{- end -}}
{{- $ports := list -}}
{{- if and $hub (not $doc.offline) -}}{{- $ports = append $ports 443 -}}{{- end -}}
{{- $urls := list -}}
{{- with .model.base_url -}}{{- $urls = append $urls . -}}{{- end -}}
{{- $key := or (hasKey $doc.env "WANDB_API_KEY") (hasKey $doc.secretEnv "WANDB_API_KEY") -}}
{{- if and $key (has "wandb" $doc.report_to) (not $doc.offline) -}}{{- $urls = append $urls (default "https://api.wandb.ai" $doc.env.WANDB_BASE_URL) -}}{{- end -}}
{{- if has "mlflow" $doc.report_to -}}{{- with $doc.env.MLFLOW_TRACKING_URI -}}{{- $urls = append $urls . -}}{{- end -}}{{- end -}}
{{- range $urls -}}
  {{- $port := regexFind "^https?://[^/?#]*" . | regexFind ":[0-9]{1,5}$" | trimPrefix ":" -}}
  {{- if or $port (regexMatch "^https?://" .) -}}{{- $ports = append $ports (int (default (ternary "80" "443" (hasPrefix "http:" .)) $port)) -}}{{- end -}}
{{- end -}}
{{- $padded := list -}}{{- $rules := list -}}
{{- range $ports -}}{{- $padded = append $padded (printf "%05d" (int .)) -}}{{- end -}}
{{- range $port := $padded | sortAlpha | uniq -}}{{- $rules = append $rules (dict "port" (atoi $port) "protocol" "TCP") -}}{{- end -}}
{{- toJson $rules -}}
{{- end -}}
