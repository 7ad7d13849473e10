{{/* An Indexed Job of one pod a node, or a shard; takes the unit. */}}
{{- define "fino1.jobSpec" -}}
{{- $pods := .doc.nodes }}
{{- if .asked }}
{{- $pods = (get .doc .doc.method).shards }}
{{- end }}
completionMode: Indexed
completions: {{ toJson $pods }}
parallelism: {{ toJson $pods }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    {{- if include "fino1.isLinked" . }}
    {{- include "fino1.failJob" (list "model" .fatal) | nindent 4 }}
    {{- end }}
    {{- include "fino1.failJob" (list (include "fino1.container" .) .fatal) | nindent 4 }}
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
template:
  {{- include "fino1.podTemplate" . | nindent 2 }}
    {{- if and (eq .kind "Job") (not .asked) (gt (int .doc.nodes) 1) }}
    subdomain: {{ quote .full }}
    {{- end }}
    restartPolicy: Never
{{- end -}}

{{/* Exit codes of a container after which trying again is of no use: (list CONTAINER CODES). */}}
{{- define "fino1.failJob" -}}
- action: FailJob
  onExitCodes:
    containerName: {{ index . 0 | quote }}
    operator: In
    values: {{ index . 1 | toJson }}
{{- end -}}

{{/* The Job of a JobSet or a TrainingRuntime; takes the unit. */}}
{{- define "fino1.replicatedSpec" -}}
backoffLimit: 0
{{- include "fino1.deadline" .doc }}
{{- include "fino1.jobSpec" . }}
{{- end -}}

{{/* A JobSet starts again as a whole, except after an exit code that says that this is of no use; takes the unit. */}}
{{- define "fino1.failurePolicy" -}}
maxRestarts: {{ toJson .doc.backoffLimit }}
rules:
  - name: fatal
    action: FailJobSet
    onJobFailureReasons: ["PodFailurePolicy"]
{{- end -}}

{{/* When a run is ended; takes the document. */}}
{{- define "fino1.deadline" -}}
{{- with .activeDeadlineSeconds }}
activeDeadlineSeconds: {{ toJson . }}
{{- end }}
{{- end -}}
