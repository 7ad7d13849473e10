{{/*
What tells a pod that trains which attempt it is of, and what torch's launcher reads; Kubeflow Trainer 2 says the latter
itself. A pod that asks models has neither. The port is PORT of fino1/k8s/objects/unit.py.
*/}}
{{- define "fino1.launchEnv" -}}
{{- if not .asked }}
{{- include "fino1.attemptEnv" . }}
{{- if .isGitops }}
FINO1_ONCE: "1"
{{- end }}
{{- if ne .kind "TrainJob" }}
PET_MASTER_ADDR: {{ include "fino1.firstPod" . | quote }}
PET_MASTER_PORT: "29500"
PET_NNODES: {{ toJson .doc.nodes | quote }}
PET_NODE_RANK:
  fieldRef:
    {{- if eq .kind "PyTorchJob" }}
    fieldPath: metadata.labels['training.kubeflow.org/replica-index']
    {{- else }}
    fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
    {{- end }}
PET_NPROC_PER_NODE: {{ quote .ranks }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A PyTorchJob's pods count their attempts themselves; the others' have a label of their Job. */}}
{{- define "fino1.attemptEnv" -}}
{{- if eq .kind "PyTorchJob" }}
FINO1_BACKOFF_LIMIT: {{ toJson .doc.backoffLimit | quote }}
{{- else }}
FINO1_ATTEMPT:
  fieldRef:
    fieldPath: metadata.labels['batch.kubernetes.io/controller-uid']
{{- end }}
{{- end -}}

{{/* Host name of the first pod, where the ranks of several meet. */}}
{{- define "fino1.firstPod" -}}
{{- if eq (int .doc.nodes) 1 -}}
localhost
{{- else if eq .kind "PyTorchJob" -}}
{{- printf "%s-worker-0" .full -}}
{{- else if eq .kind "JobSet" -}}
{{- printf "%s-node-0-0.%s" .full .full -}}
{{- else -}}
{{- printf "%s-0.%s" .full .full -}}
{{- end -}}
{{- end -}}
