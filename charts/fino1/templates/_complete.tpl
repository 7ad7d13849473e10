{{/*
JSON of a value, complete as files/spec.json says: defaults in, nulls out, numbers as numbers.
Takes value, node (a part of spec.json), path, and state, to whose problems it adds what is wrong with the value.
*/}}
{{- define "fino1.complete" -}}
{{- $kind := .node.kind -}}
{{- if eq $kind "block" -}}
{{- include "fino1.complete.block" . -}}
{{- else if eq $kind "map" -}}
{{- include "fino1.complete.map" . -}}
{{- else if eq $kind "list" -}}
{{- include "fino1.complete.list" . -}}
{{- else if eq $kind "number" -}}
{{- include "fino1.complete.number" . -}}
{{- else if eq $kind "quantity" -}}
{{- include "fino1.complete.quantity" . -}}
{{- else if and (eq $kind "any") (kindIs "map" .value) -}}
{{- include "fino1.complete.map" (merge (dict "node" (dict "values" .node)) .) -}}
{{- else if and (eq $kind "any") (kindIs "slice" .value) -}}
{{- include "fino1.complete.list" (merge (dict "node" (dict "items" .node)) .) -}}
{{- else -}}
{{- toJson .value -}}
{{- end -}}
{{- end -}}

{{- define "fino1.complete.block" -}}
{{- $entries := list -}}
{{- range $key, $field := .node.fields -}}
{{- $value := index $.value $key -}}
{{- if and (kindIs "invalid" $value) (hasKey $field "default") -}}
{{- $value = $field.default -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $entry := dict "value" $value "node" $field "state" $.state "in" $.path "key" $key -}}
{{- $text := include "fino1.complete.entry" $entry -}}
{{- $default := include "fino1.complete.default" $entry -}}
{{- if ne $text $default -}}
{{- $entries = append $entries $text -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- printf "{%s}" (join "," $entries) -}}
{{- end -}}

{{/*
The entry of an added key that has its default, which the caller leaves out (config.json and the hashes have none);
empty for all other keys, and while state.leavesAddedOut is not set.
*/}}
{{- define "fino1.complete.default" -}}
{{- if and .node.added .state.leavesAddedOut (hasKey .node "default") -}}
{{- set (deepCopy .) "value" .node.default | include "fino1.complete.entry" -}}
{{- end -}}
{{- end -}}

{{- define "fino1.complete.map" -}}
{{- $entries := list -}}
{{- range $key, $value := .value -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $entry := dict "value" $value "node" $.node.values "state" $.state "in" $.path "key" $key -}}
{{- $entries = append $entries (include "fino1.complete.entry" $entry) -}}
{{- end -}}
{{- end -}}
{{- printf "{%s}" (join "," $entries) -}}
{{- end -}}

{{/* JSON of one key and its value. Takes value, node and state as fino1.complete does, `key`, and the path it is `in`. */}}
{{- define "fino1.complete.entry" -}}
{{- $path := printf "%s.%s" .in .key | trimPrefix "." -}}
{{- toJson .key -}}
:
{{- include "fino1.complete" (dict "value" .value "node" .node "state" .state "path" $path) -}}
{{- end -}}

{{- define "fino1.complete.list" -}}
{{- $items := list -}}
{{- range $i, $value := .value -}}
{{- $path := printf "%s.%d" $.path $i -}}
{{- $item := dict "value" $value "node" $.node.items "state" $.state "path" $path -}}
{{- $items = append $items (include "fino1.complete" $item) -}}
{{- end -}}
{{- printf "[%s]" (join "," $items) -}}
{{- end -}}
