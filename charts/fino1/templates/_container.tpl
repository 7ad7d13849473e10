{{/* What every container has: pull policy, security context, mounts. */}}
{{- define "fino1.hardened" -}}
imagePullPolicy: {{ quote .doc.image.pullPolicy }}
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
  {{- if .asked }}
  - name: link
    mountPath: /run/fino1
  {{- end }}
{{- end -}}

{{/* The image of the unit's method. A digest wins over the tag. */}}
{{- define "fino1.image" -}}
{{- $part := ternary "train" "eval" (empty .asked) -}}
{{- $repository := .doc.image.repository | default (printf "ghcr.io/fino1/%s" $part) -}}
{{- if .doc.image.digest -}}
{{- printf "%s@%s" $repository .doc.image.digest -}}
{{- else -}}
{{- .doc.image.tag | default .version | printf "%s:%s" $repository -}}
{{- end -}}
{{- end -}}

{{/* Extended resources of a pod that computes; takes the document. */}}
{{- define "fino1.devices" -}}
{{- if .gpus_per_node }}
{{ quote .gpu.resource }}: {{ toJson .gpus_per_node | quote }}
{{- end }}
{{- if .rdma.resource }}
{{ quote .rdma.resource }}: {{ toJson .rdma.count | quote }}
{{- end }}
{{- end -}}

{{/* The key `resources`, where there are any: (list REQUESTS LIMITS). */}}
{{- define "fino1.resources" -}}
{{- if or (index . 0) (index . 1) }}
resources:
  {{- with index . 0 }}
  requests:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with index . 1 }}
  limits:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}
