{{/* Does an init container find the served model on a volume? */}}
{{- define "fino1.isLinked" -}}
{{- if and .served (not .served.hub) -}}
true
{{- end -}}
{{- end -}}

{{/* What runs before and beside what asks a model that runs in the pod: find the model, serve it. */}}
{{- define "fino1.initContainers" -}}
{{- if include "fino1.isLinked" . }}
- name: model
  image: {{ include "fino1.image" . | quote }}
  args: ["link", "--config", "/etc/fino1/config.json", "--to", "/run/fino1/model"]
  {{- include "fino1.hardened" . | nindent 2 }}
  env:
    {{- include "fino1.env" . | nindent 4 }}
{{- end }}
- name: server
  {{- $devices := include "fino1.devices" .doc | fromYaml }}
  {{- include "fino1.server" . | nindent 2 }}
  {{- include "fino1.hardened" . | nindent 2 }}
  restartPolicy: Always
  env:
    {{- include "fino1.env" . | nindent 4 }}
  {{- include "fino1.resources" (list dict $devices) | nindent 2 }}
{{- end -}}

{{/* Image and arguments of the server: vLLM on GPUs, `transformers serve` of our training image without. */}}
{{- define "fino1.server" -}}
{{- $server := (get .doc .doc.method).server -}}
{{- $engine := default (ternary "vllm" "transformers" (gt (int .doc.gpus_per_node) 0)) $server.engine -}}
{{- if eq $engine "vllm" -}}
image: {{ $server.image | default .vllm | quote }}
args:
  {{- include "fino1.vllm" . | nindent 2 }}
{{- else -}}
image: {{ $server.image | default (printf "ghcr.io/fino1/train:%s" .version) | quote }}
args: ["serve", "--config", "/etc/fino1/config.json", "--port", "8000"]
{{- end -}}
{{- end -}}

{{/* vLLM's arguments. */}}
{{- define "fino1.vllm" -}}
- --model
- {{ .served.hub | default "/run/fino1/model" | quote }}
{{- with .served.revision }}
- --revision
- {{ quote . }}
{{- end }}
- --served-model-name
- {{ quote .served.name }}
{{- with .served.context_length }}
- --max-model-len
- {{ toJson . | quote }}
{{- end }}
- --host
- "127.0.0.1"
- --port
- "8000"
- --tensor-parallel-size
- {{ max .doc.gpus_per_node 1 | quote }}
{{- range concat (get .doc .doc.method).server.args (.served.server_args | default list) }}
- {{ quote . }}
{{- end }}
{{- end -}}
