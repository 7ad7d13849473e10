{{/* Which nodes a unit's pods get, and whether they start together. */}}
{{- define "fino1.scheduling" -}}
{{- $gang := include "fino1.gang" . }}
{{- if eq $gang "volcano" }}
schedulerName: volcano
{{- else if $gang }}
schedulerName: scheduler-plugins-scheduler
{{- end }}
{{- with .doc.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- include "fino1.affinity" . }}
{{- include "fino1.nodes" . }}
{{- end -}}

{{/* Near to each other; with a queue Kueue sees to that. */}}
{{- define "fino1.affinity" -}}
{{- if and .doc.topology.key (not .doc.queue) }}
affinity:
  podAffinity:
    {{- if eq .doc.topology.policy "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - labelSelector:
          matchLabels:
            fino1/run: {{ quote .full }}
        topologyKey: {{ quote .doc.topology.key }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          labelSelector:
            matchLabels:
              fino1/run: {{ quote .full }}
          topologyKey: {{ quote .doc.topology.key }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Node selector and tolerations: GPUs by product, their taint tolerated; a model behind an API needs none. */}}
{{- define "fino1.nodes" -}}
{{- $hasGpus := and .doc.gpus_per_node (or .served (not .asked)) }}
{{- $selector := dict }}
{{- if and $hasGpus .doc.gpu.product }}
{{- $_ := set $selector "nvidia.com/gpu.product" .doc.gpu.product }}
{{- end }}
{{- with include "fino1.merged" (list $selector .doc.nodeSelector) | fromJson }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or $hasGpus .doc.tolerations }}
tolerations:
  {{- if $hasGpus }}
  - key: {{ quote .doc.gpu.taint }}
    operator: Exists
    effect: NoSchedule
  {{- end }}
  {{- with .doc.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
