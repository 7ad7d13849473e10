{{/* A toleration: (list STATE PATH TOLERATION). */}}
{{- define "fino1.check.toleration" -}}
{{- $toleration := index . 2 -}}
{{- if and (eq $toleration.operator "Equal") (not $toleration.key) -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.key" (index . 1)) "one with operator Equal" "none") -}}
{{- end -}}
{{- if and (eq $toleration.operator "Exists") $toleration.value -}}
{{- $path := printf "%s.value" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $path "none with operator Exists" $toleration.value) -}}
{{- end -}}
{{- if and (hasKey $toleration "tolerationSeconds") (ne (default "" $toleration.effect) "NoExecute") -}}
{{- $path := printf "%s.tolerationSeconds" (index . 1) -}}
{{- $got := $toleration.tolerationSeconds -}}
{{- include "fino1.problem" (list (index . 0) $path "none without effect NoExecute" $got) -}}
{{- end -}}
{{- end -}}
