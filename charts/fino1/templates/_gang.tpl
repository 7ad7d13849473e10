{{/* The gang scheduler of a run of training; pods that ask models need none. */}}
{{- define "fino1.gang" -}}
{{- if not .asked -}}
{{- default "" .doc.gang -}}
{{- end -}}
{{- end -}}

{{/* Gang scheduler, if the chart must render the PodGroup itself. Operators make those of their own kinds. */}}
{{- define "fino1.ownGang" -}}
{{- if or (eq .kind "Job") (eq .kind "JobSet") -}}
{{- include "fino1.gang" . -}}
{{- end -}}
{{- end -}}

{{- define "fino1.gangLabels" -}}
{{- if eq (include "fino1.ownGang" .) "coscheduling" }}
scheduling.x-k8s.io/pod-group: {{ quote .full }}
{{- end }}
{{- end -}}

{{/* Annotations of pods that are scheduled together: Volcano's group, Kueue's topology. */}}
{{- define "fino1.schedulingAnnotations" -}}
{{- if eq (include "fino1.ownGang" .) "volcano" }}
scheduling.k8s.io/group-name: {{ quote .full }}
{{- end }}
{{- if and .doc.topology.key .doc.queue }}
{{ printf "kueue.x-k8s.io/podset-%s-topology" .doc.topology.policy | quote }}: {{ quote .doc.topology.key }}
{{- end }}
{{- end -}}
