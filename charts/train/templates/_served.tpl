{{/* Does an init container find the evaluated model on a volume? */}}
{{- define "fino1.links" -}}
{{- and (not (empty .model)) (not .model.base_url) (not .model.hub) -}}
{{- end -}}

{{/* What runs before and beside an evaluation whose model runs in the pod: find the model, serve it. As fino1/k8s/pod.py. */}}
{{- define "fino1.served" -}}
{{- $doc := .doc -}}{{- $model := .model -}}{{- $env := include "fino1.env" (list . dict) -}}
{{- $engine := default (ternary "vllm" "transformers" (gt $doc.gpus_per_node 0.0)) $doc.eval.server.engine -}}
{{- $default := include "fino1.image" (list . "train") -}}
{{- $args := list "serve" "--config" "/etc/fino1/config.json" "--port" "8000" -}}
{{- if eq $engine "vllm" -}}
  {{- $default = .vllm -}}
  {{- $revision := ternary (list "--revision" $model.revision) list (hasKey $model "revision") -}}
  {{- $length := ternary (list "--max-model-len" (toJson $model.context_length)) list (hasKey $model "context_length") -}}
  {{- $args = concat (list "--model" (default "/run/fino1/model" $model.hub)) $revision (list "--served-model-name" $model.name) $length (list "--host" "127.0.0.1" "--port" "8000" "--tensor-parallel-size" (toJson (max $doc.gpus_per_node 1))) $doc.eval.server.args -}}
{{- end -}}
{{- if eq (include "fino1.links" .) "true" }}
- name: model
  image: {{ include "fino1.image" (list . "") | toJson }}
  args: ["link", "--config", "/etc/fino1/config.json", "--to", "/run/fino1/model"]
  {{- include "fino1.hardened" . | nindent 2 }}
  env: {{ $env }}
{{- end }}
- name: server
  image: {{ default $default $doc.eval.server.image | toJson }}
  args: {{ toJson $args }}
  {{- include "fino1.hardened" . | nindent 2 }}
  restartPolicy: Always
  env: {{ $env }}
  {{- include "fino1.resources" (list dict (include "fino1.devices" $doc | fromJson)) | nindent 2 }}
{{- end -}}
