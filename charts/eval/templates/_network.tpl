{{/* TCP ports of the world outside that a unit needs, as JSON: HTTPS for a hub, and an endpoint's. As fino1/k8s/plan.py. */}}
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
{{- with .model.base_url -}}
  {{- $url := urlParse . -}}
  {{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
  {{- $ports = append $ports (int (default (ternary "80" "443" (eq $url.scheme "http")) $port)) -}}
{{- end -}}
{{- $rules := list -}}
{{- if and (eq (len $ports) 2) (gt (index $ports 0) (index $ports 1)) -}}{{- $ports = reverse $ports -}}{{- end -}}
{{- range $port := uniq $ports -}}{{- $rules = append $rules (dict "port" $port "protocol" "TCP") -}}{{- end -}}
{{- toJson $rules -}}
{{- end -}}
