{{/* The pod template of a unit. */}}
{{- define "fino1.podTemplate" -}}
metadata:
  {{- $labels := include "fino1.podLabels" . | fromYaml }}
  {{- $gang := include "fino1.gangLabels" . | fromYaml }}
  labels:
    {{- include "fino1.merged" (list $labels $gang .doc.podLabels) | fromJson | toYaml | nindent 4 }}
  {{- $annotations := include "fino1.schedulingAnnotations" . | fromYaml }}
  {{- with include "fino1.merged" (list $annotations .doc.podAnnotations) | fromJson }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "fino1.scheduling" . | nindent 2 }}
  {{- include "fino1.podCommon" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ toJson .doc.terminationGracePeriodSeconds }}
  {{- if .served }}
  initContainers:
    {{- include "fino1.initContainers" . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ include "fino1.container" . | quote }}
      image: {{ include "fino1.image" . | quote }}
      args:
        {{- include "fino1.args" . | nindent 8 }}
      {{- include "fino1.hardened" . | nindent 6 }}
      env:
        {{- include "fino1.mainEnv" . | nindent 8 }}
      {{- $limits := .doc.resources.limits }}
      {{- if not .asked }}
      {{- $devices := include "fino1.devices" .doc | fromYaml }}
      {{- $limits = include "fino1.merged" (list $limits $devices) | fromJson }}
      {{- end }}
      {{- include "fino1.resources" (list .doc.resources.requests $limits) | nindent 6 }}
{{- end -}}

{{/* Name of the main container: PyTorchJob and Trainer 2 look for theirs. */}}
{{- define "fino1.container" -}}
{{- if .asked -}}
{{ .verb }}
{{- else if eq .kind "PyTorchJob" -}}
pytorch
{{- else if eq .kind "Job" -}}
train
{{- else -}}
node
{{- end -}}
{{- end -}}

{{- define "fino1.args" -}}
- {{ quote .verb }}
- --config
- /etc/fino1/config.json
{{- if .served }}
- --server
- http://127.0.0.1:8000/v1
{{- end }}
{{- end -}}
