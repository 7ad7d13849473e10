{{/* JSON of a number. The schema has checked those that YAML reads as numbers; `--set` makes text of most. */}}
{{- define "fino1.complete.number" -}}
{{- if kindIs "string" .value -}}
{{- include "fino1.check.number" . -}}
{{- end -}}
{{- float64 .value | toJson -}}
{{- end -}}

{{/* JSON of a Kubernetes quantity; a bare number is read as one. */}}
{{- define "fino1.complete.quantity" -}}
{{- $text := .value -}}
{{- if not (kindIs "string" $text) -}}
{{- $text = float64 $text | toJson -}}
{{- end -}}
{{- if not (regexMatch .node.pattern $text) -}}
{{- include "fino1.problem" (list .state .path .node.expected .value) -}}
{{- end -}}
{{- toJson $text -}}
{{- end -}}

{{/* Is a number given as text within its node's bounds? */}}
{{- define "fino1.check.number" -}}
{{- $x := float64 .value -}}
{{- $expected := "" -}}
{{- if and (eq $x 0.0) (regexMatch "[1-9].*[eE][+]?[0-9]+$" .value) -}}
{{- $expected = "a finite number" -}}
{{- else if and .node.integer (ne $x (floor $x)) -}}
{{- $expected = "an integer" -}}
{{- else if and (hasKey .node "minimum") (lt $x (float64 .node.minimum)) -}}
{{- $expected = toJson .node.minimum | printf "at least %s" -}}
{{- else if and (hasKey .node "exclusiveMinimum") (le $x (float64 .node.exclusiveMinimum)) -}}
{{- $expected = toJson .node.exclusiveMinimum | printf "more than %s" -}}
{{- else if and (hasKey .node "maximum") (gt $x (float64 .node.maximum)) -}}
{{- $expected = toJson .node.maximum | printf "at most %s" -}}
{{- else if and (hasKey .node "exclusiveMaximum") (ge $x (float64 .node.exclusiveMaximum)) -}}
{{- $expected = toJson .node.exclusiveMaximum | printf "less than %s" -}}
{{- end -}}
{{- if $expected -}}
{{- include "fino1.problem" (list .state .path $expected .value) -}}
{{- end -}}
{{- end -}}

{{/* Add "PATH: expected X, got Y" to the state's problems: (list STATE PATH EXPECTED GOT). */}}
{{- define "fino1.problem" -}}
{{- $state := index . 0 -}}
{{- $got := index . 3 -}}
{{- if not (kindIs "string" $got) -}}
{{- $got = toJson $got -}}
{{- end -}}
{{- $problem := printf "%s: expected %s, got %s" (index . 1) (index . 2) $got -}}
{{- $_ := set $state "problems" (append $state.problems $problem) -}}
{{- end -}}
