{{/* What every container has: pull policy, security context, mounts. As fino1/k8s/pod.py. */}}
{{- define "fino1.hardened" -}}
imagePullPolicy: {{ toJson .doc.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
    {{- if .doc.rdma.resource }}
    add: ["IPC_LOCK"]
    {{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/fino1
    readOnly: true
  - name: work
    mountPath: /work
  - name: models
    mountPath: /models
    {{- if .doc.volumes.models.readOnly }}
    readOnly: true
    {{- end }}
  - name: shm
    mountPath: /dev/shm
  - name: tmp
    mountPath: /tmp
  {{- if .model }}
  - name: link
    mountPath: /run/fino1
  {{- end }}
{{- end -}}

{{/* The image of the unit's method, or of another part of the suite: (list unit PART). */}}
{{- define "fino1.image" -}}
{{- $unit := index . 0 -}}{{- $part := index . 1 -}}{{- $image := $unit.doc.image -}}
{{- $mine := ternary "train" "eval" (empty $unit.model) -}}
{{- if and $part (ne $part $mine) -}}
  {{- printf "ghcr.io/fino1/%s:%s" $part $unit.version -}}
{{- else -}}
  {{- $repository := default (printf "ghcr.io/fino1/%s" $mine) $image.repository -}}
  {{- ternary (printf "%s@%s" $repository (default "" $image.digest)) (printf "%s:%s" $repository (default $unit.version $image.tag)) (hasKey $image "digest") -}}
{{- end -}}
{{- end -}}

{{/* Environment as JSON, sorted by name: (list unit VARIABLES), with the run file's own and those from Secrets. */}}
{{- define "fino1.env" -}}
{{- $unit := index . 0 -}}{{- $doc := $unit.doc -}}
{{- $all := dict "HF_DATASETS_CACHE" "/work/cache/datasets" "HF_HOME" "/models" "HOME" "/tmp" "PYTHONUNBUFFERED" "1" "TOKENIZERS_PARALLELISM" "false" "TORCH_EXTENSIONS_DIR" "/tmp/extensions" "TORCHINDUCTOR_CACHE_DIR" "/tmp/inductor" "TRITON_CACHE_DIR" "/tmp/triton" "XDG_CACHE_HOME" "/tmp/cache" -}}
{{- if $doc.offline -}}{{- $_ := set $all "HF_HUB_OFFLINE" "1" -}}{{- end -}}
{{- with $doc.report_to -}}{{- $_ := set $all "FINO1_REPORT_TO" (join "," .) -}}{{- end -}}
{{- if $doc.gpus_per_node -}}{{- $_ := set $all "NCCL_DEBUG" "WARN" -}}{{- else -}}{{- $_ := set $all "OMP_NUM_THREADS" "1" -}}{{- end -}}
{{- $all = mergeOverwrite $all (index . 1) $doc.env -}}
{{- range $name, $ref := $doc.secretEnv -}}
  {{- $key := dict "name" $ref.name "key" $ref.key -}}
  {{- if $ref.optional -}}{{- $_ := set $key "optional" true -}}{{- end -}}
  {{- $_ := set $all $name (dict "secretKeyRef" $key) -}}
{{- end -}}
{{- $list := list -}}
{{- range $name, $value := $all -}}
  {{- $list = append $list (dict "name" $name (ternary "value" "valueFrom" (kindIs "string" $value)) $value) -}}
{{- end -}}
{{- toJson $list -}}
{{- end -}}
