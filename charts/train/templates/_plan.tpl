{{/*
JSON {"units": […]}: which run objects there are, as fino1/k8s/plan.py plans them. Fails with every problem of the values.
A unit has instance, name, full (its objects' name), doc (its complete document), config (text of config.json).
*/}}
{{- define "fino1.units" -}}
{{- $spec := .Files.Get "files/spec.json" | fromJson -}}
{{- $state := dict "problems" list "reserved" $spec.reserved -}}
{{- if not (regexMatch $spec.name .Release.Name) -}}
  {{- include "fino1.problem" (list $state "name" "a letter and at most 33 lower-case letters, digits and -, the last no -" .Release.Name) -}}
{{- end -}}
{{- $doc := include "fino1.complete" (dict "value" (omit .Values "global") "node" $spec.root "path" "" "state" $state) | fromJson -}}
{{- if not $state.problems -}}{{- include "fino1.check" (dict "doc" $doc "state" $state) -}}{{- end -}}
{{- if $state.problems -}}{{- fail (printf "\n%s" (join "\n" $state.problems)) -}}{{- end -}}
{{- $units := list -}}
{{- if eq $doc.method "eval" -}}
  {{- range $model := $doc.eval.models -}}
    {{- $name := printf "%s-%s" $.Release.Name ($model.name | replace "." "-") | trunc 34 | trimAll "-" -}}
    {{- $mine := merge (dict "eval" (merge (dict "models" (list $model)) (omit $doc.eval "models"))) (omit $doc "eval") -}}
    {{- $units = append $units (dict "name" $name "doc" $mine) -}}
  {{- end -}}
{{- else -}}
  {{- $units = list (dict "name" .Release.Name "doc" $doc) -}}
{{- end -}}
{{- range $unit := $units -}}
  {{- $config := $unit.doc -}}
  {{- range $key := $spec.placement -}}{{- $config = omit $config $key -}}{{- end -}}
  {{- $_ := set $unit "instance" $.Release.Name -}}
  {{- $_ := set $unit "full" (printf "%s-%s" $unit.name (merge (dict "version" $.Chart.Version) $unit.doc | toJson | sha256sum | trunc 10)) -}}
  {{- $_ := set $unit "config" (toJson $config) -}}
  {{- $_ := set $unit "directory" (printf "%s-%s" $unit.name ($unit.config | sha256sum | trunc 10)) -}}
  {{- $_ := set $unit "chart" (printf "%s-%s" $.Chart.Name $.Chart.Version) -}}
  {{- $_ := set $unit "version" $.Chart.AppVersion -}}
  {{- $_ := set $unit "fatal" $spec.fatal -}}
  {{- $_ := set $unit "vllm" $spec.vllm -}}
  {{- $_ := set $unit "ranks" (default (max $unit.doc.gpus_per_node 1) $unit.doc.processes_per_node) -}}
  {{- $_ := set $unit "model" (ternary (first $unit.doc.eval.models) dict (eq $unit.doc.method "eval")) -}}
{{- end -}}
{{- toJson (dict "units" $units) -}}
{{- end -}}

{{/* Labels of a unit's pods, as JSON. No version and no chart: a Job's template cannot change (helm/helm#7082). */}}
{{- define "fino1.podLabels" -}}
{{- dict "app.kubernetes.io/name" "fino1" "app.kubernetes.io/instance" .instance "app.kubernetes.io/component" .doc.method "app.kubernetes.io/part-of" "fino1" "fino1/run" .full | toJson -}}
{{- end -}}

{{/* Labels of a unit's objects, as JSON. */}}
{{- define "fino1.labels" -}}
{{- merge (dict "app.kubernetes.io/version" .version "helm.sh/chart" .chart) (include "fino1.podLabels" . | fromJson) | toJson -}}
{{- end -}}

{{/* Metadata of an object that a controller runs. */}}
{{- define "fino1.runMetadata" -}}
{{- $labels := include "fino1.labels" . | fromJson -}}
{{- with .doc.queue -}}{{- $_ := set $labels "kueue.x-k8s.io/queue-name" . -}}{{- end -}}
{{- with .doc.workloadPriorityClass -}}{{- $_ := set $labels "kueue.x-k8s.io/priority-class" . -}}{{- end -}}
name: {{ toJson .full }}
labels: {{ toJson $labels }}
annotations: {{ dict "fino1/directory" .directory | toJson }}
{{- end -}}

{{/* How long a run may take and stays, and whether it waits. */}}
{{- define "fino1.limits" -}}
{{- with .doc.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ toJson . }}
{{- end }}
{{- if hasKey .doc "ttlSecondsAfterFinished" }}
ttlSecondsAfterFinished: {{ toJson .doc.ttlSecondsAfterFinished }}
{{- end }}
{{- if .doc.suspend }}
suspend: true
{{- end }}
{{- end -}}
