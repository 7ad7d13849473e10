{{/* What tells a pod which attempt it is of, and what torch's launcher reads, as JSON. Kubeflow Trainer 2 says that itself. As fino1/k8s/pod.py. */}}
{{- define "fino1.launchEnv" -}}
{{- $env := dict -}}
{{- $backend := .doc.backend -}}
{{- if and (not .model) (eq $backend "pytorchjob") -}}
  {{- $env = dict "FINO1_BACKOFF_LIMIT" (toJson .doc.backoffLimit) -}}
{{- else if not .model -}}
  {{- $env = dict "FINO1_ATTEMPT" (dict "fieldRef" (dict "fieldPath" "metadata.labels['batch.kubernetes.io/controller-uid']")) -}}
{{- end -}}
{{- if not (or .model (eq $backend "trainjob")) -}}
  {{- $first := get (dict "pytorchjob" (printf "%s-worker-0" .full) "job" (printf "%s-0.%s" .full .full) "jobset" (printf "%s-node-0-0.%s" .full .full)) $backend -}}
  {{- $index := ternary "metadata.labels['training.kubeflow.org/replica-index']" "metadata.annotations['batch.kubernetes.io/job-completion-index']" (eq $backend "pytorchjob") -}}
  {{- $env = merge $env (dict "PET_MASTER_ADDR" (ternary $first "localhost" (gt .doc.nodes 1.0)) "PET_MASTER_PORT" "29500" "PET_NNODES" (toJson .doc.nodes) "PET_NODE_RANK" (dict "fieldRef" (dict "fieldPath" $index)) "PET_NPROC_PER_NODE" (toJson .ranks)) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* An Indexed Job of one pod a node, or a shard: (dict "unit" … "container" NAME). As fino1/k8s/render.py. */}}
{{- define "fino1.jobSpec" -}}
{{- $pods := ternary .unit.doc.nodes .unit.doc.eval.shards (empty .unit.model) | toJson -}}
completionMode: Indexed
completions: {{ $pods }}
parallelism: {{ $pods }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    {{- range $name := ternary (list "model" .container) (list .container) (eq (include "fino1.links" .unit) "true") }}
    - action: FailJob
      onExitCodes:
        containerName: {{ toJson $name }}
        operator: In
        values: {{ toJson $.unit.fatal }}
    {{- end }}
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
template:
  {{- include "fino1.podTemplate" . | nindent 2 }}
  {{- if and (eq .unit.doc.backend "job") (gt .unit.doc.nodes 1.0) (not .unit.model) }}
    subdomain: {{ toJson .unit.full }}
  {{- end }}
    restartPolicy: Never
{{- end -}}

{{/* The Job of a JobSet or a TrainingRuntime; takes the unit. */}}
{{- define "fino1.replicatedSpec" -}}
backoffLimit: 0
{{- with .doc.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ toJson . }}
{{- end }}
{{ include "fino1.jobSpec" (dict "unit" . "container" "node") }}
{{- end -}}

{{/* A JobSet starts again as a whole, except after an exit code that says that this is of no use; takes the unit. */}}
{{- define "fino1.failurePolicy" -}}
maxRestarts: {{ toJson .doc.backoffLimit }}
rules:
  - name: fatal
    action: FailJobSet
    onJobFailureReasons: ["PodFailurePolicy"]
{{- end -}}
