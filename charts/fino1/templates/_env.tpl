{{/* Environment of a container of the unit: fixed variables, the run file's, and those from Secrets. */}}
{{- define "fino1.env" -}}
{{- include "fino1.envList" (list . dict) -}}
{{- end -}}

{{/* The same for the container that trains, which is launched. */}}
{{- define "fino1.mainEnv" -}}
{{- include "fino1.envList" (list . (include "fino1.launchEnv" . | fromYaml)) -}}
{{- end -}}

{{/* The same with further variables, text or a source each: (list UNIT VARIABLES). */}}
{{- define "fino1.envList" -}}
{{- $unit := index . 0 -}}
{{- $fixed := include "fino1.fixedEnv" $unit | fromYaml -}}
{{- $secret := include "fino1.secretEnv" $unit | fromYaml -}}
{{- range $name, $value := include "fino1.merged" (list $fixed (index . 1) $unit.doc.env $secret) | fromJson }}
- name: {{ quote $name }}
  {{- if kindIs "string" $value }}
  value: {{ quote $value }}
  {{- else }}
  valueFrom:
    {{- toYaml $value | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "fino1.secretEnv" -}}
{{- range $name, $ref := .doc.secretEnv }}
{{ quote $name }}:
  secretKeyRef:
    name: {{ quote $ref.name }}
    key: {{ quote $ref.key }}
    {{- if $ref.optional }}
    optional: true
    {{- end }}
{{- end }}
{{- end -}}

{{/* Variables of every container of ours. All caches lie where a read-only root can be written. */}}
{{- define "fino1.fixedEnv" -}}
HF_DATASETS_CACHE: /work/cache/datasets
HF_HOME: /models
HOME: /tmp
PYTHONUNBUFFERED: "1"
TOKENIZERS_PARALLELISM: "false"
TORCH_EXTENSIONS_DIR: /tmp/extensions
TORCHINDUCTOR_CACHE_DIR: /tmp/inductor
TRITON_CACHE_DIR: /tmp/triton
XDG_CACHE_HOME: /tmp/cache
{{- if .doc.offline }}
HF_HUB_OFFLINE: "1"
{{- end }}
{{- with .doc.report_to }}
FINO1_REPORT_TO: {{ join "," . | quote }}
{{- end }}
{{- if .doc.gpus_per_node }}
NCCL_DEBUG: WARN
{{- else }}
OMP_NUM_THREADS: "1"
{{- end }}
{{- end -}}
