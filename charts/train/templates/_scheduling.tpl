{{/* Which nodes a unit's pods get, and whether they start together. As fino1/k8s/scheduling.py. */}}
{{- define "fino1.scheduling" -}}
{{- with include "fino1.gang" . }}
schedulerName: {{ ternary "volcano" "scheduler-plugins-scheduler" (eq . "volcano") }}
{{- end }}
{{- with .doc.priorityClassName }}
priorityClassName: {{ toJson . }}
{{- end }}
{{- if and .doc.topology.key (not .doc.queue) }}
{{- $term := dict "labelSelector" (dict "matchLabels" (dict "fino1/run" .full)) "topologyKey" .doc.topology.key }}
affinity:
  podAffinity:
    {{- if eq .doc.topology.policy "required" }}
    requiredDuringSchedulingIgnoredDuringExecution: {{ list $term | toJson }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution: {{ list (dict "weight" 100 "podAffinityTerm" $term) | toJson }}
    {{- end }}
{{- end }}
{{- include "fino1.nodes" . }}
{{- end -}}

{{/* Node selector and tolerations: GPUs by product, their taint tolerated; a model behind an API needs none. */}}
{{- define "fino1.nodes" -}}
{{- $selector := dict -}}{{- $tolerations := list -}}
{{- if and .doc.gpus_per_node (or (empty .model) (not .model.base_url)) -}}
  {{- if .doc.gpu.product -}}{{- $_ := set $selector "nvidia.com/gpu.product" .doc.gpu.product -}}{{- end -}}
  {{- $tolerations = list (dict "key" .doc.gpu.taint "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with mergeOverwrite $selector .doc.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with concat $tolerations .doc.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* The gang scheduler of a run of training; evaluations need none. */}}
{{- define "fino1.gang" -}}
{{- if not .model -}}{{- default "" .doc.gang -}}{{- end -}}
{{- end -}}

{{/* Is the group of pods ours to make? Operators make those of their own kinds. */}}
{{- define "fino1.ownGang" -}}
{{- if has .doc.backend (list "job" "jobset") -}}{{- include "fino1.gang" . -}}{{- end -}}
{{- end -}}

{{- define "fino1.gangLabels" -}}
{{- ternary (dict "scheduling.x-k8s.io/pod-group" .full) dict (eq (include "fino1.ownGang" .) "coscheduling") | toJson -}}
{{- end -}}

{{- define "fino1.schedulingAnnotations" -}}
{{- $annotations := ternary (dict "scheduling.k8s.io/group-name" .full) dict (eq (include "fino1.ownGang" .) "volcano") -}}
{{- if and .doc.topology.key .doc.queue -}}{{- $_ := set $annotations (printf "kueue.x-k8s.io/podset-%s-topology" .doc.topology.policy) .doc.topology.key -}}{{- end -}}
{{- toJson $annotations -}}
{{- end -}}
