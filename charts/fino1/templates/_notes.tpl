{{/* What a run needs before it starts, a line each: its kind's operator, queue, Secrets, a storage class. */}}
{{- define "fino1.notes.needs" -}}
- {{ include "fino1.notes.operator" . }}
{{- if include "fino1.ownGang" . }}
- the gang scheduler: {{ .doc.gang }}
{{- end }}
{{- with .doc.queue }}
- Kueue, with LocalQueue {{ . }}
{{- end }}
{{- with .doc.priorityClassName }}
- PriorityClass {{ . }}
{{- end }}
{{- range .doc.image.pullSecrets }}
- Secret {{ . }}, to pull images
{{- end }}
{{- range $name, $ref := .doc.secretEnv }}
{{- if not $ref.optional }}
- Secret {{ $ref.name }} with key {{ $ref.key }}, for {{ $name }}
{{- end }}
{{- end }}
{{- range list .doc.volumes.work .doc.volumes.models }}
{{- if .create }}
- storage class {{ .storageClassName | default "(the default one)" }} that offers {{ join ", " .accessModes }}
{{- else }}
- PersistentVolumeClaim {{ .claimName }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "fino1.notes.operator" -}}
{{- if eq .kind "PyTorchJob" -}}
PyTorchJob (kubeflow.org/v1), of Kubeflow's training-operator
{{- else if eq .kind "JobSet" -}}
JobSet (jobset.x-k8s.io/v1alpha2), of the JobSet operator
{{- else if eq .kind "TrainJob" -}}
TrainJob (trainer.kubeflow.org/v1alpha1), of Kubeflow Trainer 2
{{- else -}}
Job (batch/v1), of Kubernetes itself
{{- end -}}
{{- end -}}

{{- define "fino1.notes.results" -}}
{{- if eq .doc.method "eval" -}}
cells/
{{- else -}}
runs/{{ .directory }}
{{- end -}}
{{- end -}}

{{/* Two releases cannot both make a claim. */}}
{{- define "fino1.notes.shared" -}}
{{- $work := .doc.volumes.work -}}
{{- $models := .doc.volumes.models -}}
{{- if or $work.create $models.create }}

Another release in this namespace shares the claims, so that it finds the models of this one. Install it with
  --set volumes.work.create=false --set volumes.models.create=false
{{- end }}
{{- end -}}
