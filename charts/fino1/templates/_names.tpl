{{/* A name and the first ten hex digits of a text's SHA-256: (list NAME TEXT). */}}
{{- define "fino1.hashed" -}}
{{- index . 1 | sha256sum | trunc 10 | printf "%s-%s" (index . 0) -}}
{{- end -}}

{{/* The kind of the object that runs a document. */}}
{{- define "fino1.kind" -}}
{{- if or (eq .method "eval") (eq .backend "job") -}}
Job
{{- else if eq .backend "jobset" -}}
JobSet
{{- else if eq .backend "trainjob" -}}
TrainJob
{{- else -}}
PyTorchJob
{{- end -}}
{{- end -}}

{{/* Processes of each pod of a document. */}}
{{- define "fino1.ranks" -}}
{{- max .gpus_per_node 1 | default .processes_per_node -}}
{{- end -}}

{{/* The chart's name and version as a label's value; takes the root. */}}
{{- define "fino1.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

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
{{- end -}}
