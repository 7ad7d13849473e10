{{/*
YAML of the spec that an object has in the cluster, without what an upgrade may change. An upgrade keeps it: the name
says that the run file is the same, and a Job's template, which this version may render otherwise, cannot change.
Nothing where there is no such object, and for `helm template`. Takes (list ROOT APIVERSION KIND NAME).
*/}}
{{- define "fino1.kept" -}}
{{- $root := index . 0 -}}
{{- if $root.Release.IsUpgrade -}}
{{- $there := lookup (index . 1) (index . 2) $root.Release.Namespace (index . 3) -}}
{{- with $there.spec -}}
{{- omit . "suspend" "ttlSecondsAfterFinished" | toYaml -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The same of a Job, without what the server says of its pods: a rollback may have to make the Job again. */}}
{{- define "fino1.keptJob" -}}
{{- with include "fino1.kept" . | fromYaml -}}
{{- $labels := .template.metadata.labels -}}
{{- $labels = omit $labels "controller-uid" "batch.kubernetes.io/controller-uid" -}}
{{- $labels = omit $labels "job-name" "batch.kubernetes.io/job-name" -}}
{{- $_ := set .template.metadata "labels" $labels -}}
{{- omit . "selector" | toYaml -}}
{{- end -}}
{{- end -}}

{{/* What an upgrade does change: how long a finished object stays, and whether it waits; takes the document. */}}
{{- define "fino1.changeable" -}}
{{- if hasKey . "ttlSecondsAfterFinished" }}
ttlSecondsAfterFinished: {{ toJson .ttlSecondsAfterFinished }}
{{- end }}
{{- if .suspend }}
suspend: true
{{- end }}
{{- end -}}
