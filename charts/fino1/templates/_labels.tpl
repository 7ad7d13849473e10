{{/* What all objects of a release have in common. */}}
{{- define "fino1.commonLabels" -}}
app.kubernetes.io/name: fino1
app.kubernetes.io/instance: {{ quote .instance }}
app.kubernetes.io/part-of: fino1
{{- end -}}

{{/* Labels of a unit's pods. No version and no chart: a Job's template cannot change (helm/helm#7082). */}}
{{- define "fino1.podLabels" -}}
{{ include "fino1.commonLabels" . }}
app.kubernetes.io/component: {{ quote .doc.method }}
fino1/run: {{ quote .full }}
{{- end -}}

{{/* What says which release of the chart made an object. */}}
{{- define "fino1.versionLabels" -}}
app.kubernetes.io/version: {{ quote .version }}
helm.sh/chart: {{ quote .chart }}
{{- end -}}

{{/* Labels of a unit's objects. */}}
{{- define "fino1.labels" -}}
{{ include "fino1.podLabels" . }}
{{ include "fino1.versionLabels" . }}
{{- end -}}

{{/* Metadata of a unit's object. */}}
{{- define "fino1.metadata" -}}
name: {{ quote .full }}
labels:
  {{- include "fino1.labels" . | nindent 2 }}
{{- end -}}

{{/* Metadata of an object that a controller runs. */}}
{{- define "fino1.runMetadata" -}}
{{ include "fino1.metadata" . }}
  {{- with .doc.queue }}
  kueue.x-k8s.io/queue-name: {{ quote . }}
  {{- end }}
  {{- with .doc.workloadPriorityClass }}
  kueue.x-k8s.io/priority-class: {{ quote . }}
  {{- end }}
annotations:
  fino1/directory: {{ quote .directory }}
  {{- if eq .doc.method "eval" }}
  fino1/model: {{ quote (index .asked 0).name }}
  {{- end }}
{{- end -}}
