{{/* The number that a Kubernetes quantity stands for; fino1/spec/fields.py has the same: amount. */}}
{{- define "fino1.amount" -}}
{{- $decimal := regexFind "^[+]?[0-9.]+([eE][-+]?[0-9]+)?" . -}}
{{- $factors := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $_ := merge $factors (dict "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 "Pi" 0x1p50 "Ei" 0x1p60) -}}
{{- mulf $decimal (trimPrefix $decimal . | get $factors | default 1) -}}
{{- end -}}

{{/* Is the first quantity more than the second? */}}
{{- define "fino1.isMore" -}}
{{- if gt (index . 0 | include "fino1.amount" | float64) (index . 1 | include "fino1.amount" | float64) -}}
true
{{- end -}}
{{- end -}}

{{/* Is the resource an extended one, which is counted in whole numbers and never overcommitted? */}}
{{- define "fino1.isDevice" -}}
{{- if and (contains "/" .) (not (contains "kubernetes.io/" .)) -}}
true
{{- end -}}
{{- end -}}
