{{/* Extended resources of a pod that computes, as JSON; takes the document. */}}
{{- define "fino1.devices" -}}
{{- $devices := dict -}}
{{- if .gpus_per_node -}}{{- $_ := set $devices .gpu.resource (toJson .gpus_per_node) -}}{{- end -}}
{{- if .rdma.resource -}}{{- $_ := set $devices .rdma.resource (toJson .rdma.count) -}}{{- end -}}
{{- toJson $devices -}}
{{- end -}}

{{/* The key `resources`, where there are any: (list REQUESTS LIMITS). */}}
{{- define "fino1.resources" -}}
{{- $requests := index . 0 -}}{{- $limits := index . 1 -}}
{{- if or $requests $limits }}
resources:
  {{- with $requests }}
  requests: {{ toJson . }}
  {{- end }}
  {{- with $limits }}
  limits: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end -}}
