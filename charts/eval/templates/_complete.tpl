{{/*
JSON of .value, complete as .node (files/spec.json, from fino1/spec.py) says: defaults in, nulls out, numbers as numbers.
What is wrong with a number given as text is appended to .state.problems, with .path.
*/}}
{{- define "fino1.complete" -}}
{{- $parts := list -}}
{{- $kind := .node.kind -}}
{{- if eq $kind "block" -}}
  {{- range $key, $field := .node.fields -}}
    {{- $value := index $.value $key -}}
    {{- if and (kindIs "invalid" $value) (hasKey $field "default") -}}{{- $value = $field.default -}}{{- end -}}
    {{- if not (kindIs "invalid" $value) -}}
      {{- $path := trimPrefix "." (printf "%s.%s" $.path $key) -}}
      {{- $text := include "fino1.complete" (dict "value" $value "node" $field "path" $path "state" $.state) -}}
      {{- $parts = append $parts (printf "%s:%s" (toJson $key) $text) -}}
    {{- end -}}
  {{- end -}}
  {{- printf "{%s}" (join "," $parts) -}}
{{- else if eq $kind "map" -}}
  {{- range $key, $value := .value -}}
    {{- if not (kindIs "invalid" $value) -}}
      {{- $path := printf "%s.%s" $.path $key -}}
      {{- $text := include "fino1.complete" (dict "value" $value "node" $.node.values "path" $path "state" $.state) -}}
      {{- $parts = append $parts (printf "%s:%s" (toJson $key) $text) -}}
    {{- end -}}
  {{- end -}}
  {{- printf "{%s}" (join "," $parts) -}}
{{- else if eq $kind "list" -}}
  {{- range $i, $value := .value -}}
    {{- $path := printf "%s.%d" $.path $i -}}
    {{- $parts = append $parts (include "fino1.complete" (dict "value" $value "node" $.node.items "path" $path "state" $.state)) -}}
  {{- end -}}
  {{- printf "[%s]" (join "," $parts) -}}
{{- else if eq $kind "number" -}}
  {{- include "fino1.number" . -}}
{{- else if eq $kind "quantity" -}}
  {{- $text := .value -}}
  {{- if not (kindIs "string" $text) -}}{{- $text = toJson (float64 $text) -}}{{- end -}}
  {{- if not (regexMatch .node.pattern $text) -}}
    {{- include "fino1.problem" (list .state .path "a quantity" .value) -}}
  {{- end -}}
  {{- toJson $text -}}
{{- else if and (eq $kind "any") (kindIs "map" .value) -}}
  {{- include "fino1.complete" (merge (dict "node" (dict "kind" "map" "values" .node)) .) -}}
{{- else if and (eq $kind "any") (kindIs "slice" .value) -}}
  {{- include "fino1.complete" (merge (dict "node" (dict "kind" "list" "items" .node)) .) -}}
{{- else -}}
  {{- toJson .value -}}
{{- end -}}
{{- end -}}

{{/* JSON of a number. The schema has checked those that YAML reads as numbers; `--set` makes text of most. */}}
{{- define "fino1.number" -}}
{{- $x := float64 .value -}}
{{- if kindIs "string" .value -}}
  {{- $n := .node -}}
  {{- if and (eq $x 0.0) (regexMatch "[1-9].*[eE][+]?[0-9]+$" .value) -}}{{- include "fino1.problem" (list .state .path "a finite number" .value) -}}
  {{- else if and $n.integer (ne $x (floor $x)) -}}{{- include "fino1.problem" (list .state .path "an integer" .value) -}}
  {{- else if and (hasKey $n "minimum") (lt $x (float64 $n.minimum)) -}}{{- include "fino1.problem" (list .state .path (printf "at least %s" (toJson $n.minimum)) .value) -}}
  {{- else if and (hasKey $n "exclusiveMinimum") (le $x (float64 $n.exclusiveMinimum)) -}}{{- include "fino1.problem" (list .state .path (printf "more than %s" (toJson $n.exclusiveMinimum)) .value) -}}
  {{- else if and (hasKey $n "maximum") (gt $x (float64 $n.maximum)) -}}{{- include "fino1.problem" (list .state .path (printf "at most %s" (toJson $n.maximum)) .value) -}}
  {{- else if and (hasKey $n "exclusiveMaximum") (ge $x (float64 $n.exclusiveMaximum)) -}}{{- include "fino1.problem" (list .state .path (printf "less than %s" (toJson $n.exclusiveMaximum)) .value) -}}
  {{- end -}}
{{- end -}}
{{- toJson $x -}}
{{- end -}}

{{/* Append "PATH: expected X, got Y" to the state's problems: (list state path expected got). */}}
{{- define "fino1.problem" -}}
{{- $got := index . 3 -}}
{{- if not (kindIs "string" $got) -}}{{- $got = toJson $got -}}{{- end -}}
{{- $state := index . 0 -}}
{{- $_ := set $state "problems" (append $state.problems (printf "%s: expected %s, got %s" (index . 1) (index . 2) $got)) -}}
{{- end -}}
