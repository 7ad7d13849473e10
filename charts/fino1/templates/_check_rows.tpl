{{/* A path in a pod, or that of a task file: (list STATE PATH BLOCK). */}}
{{- define "fino1.check.path" -}}
{{- $task := default "" (index . 2).task -}}
{{- if and (regexMatch "^[^\\n]*\\.ya?ml$" $task) (not (hasPrefix "/" $task)) -}}
{{- $key := printf "%s.task" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $key "an absolute path on a volume (/work, /models)" $task) -}}
{{- end -}}
{{- $path := (index . 2).path -}}
{{- if and $path (not (hasPrefix "/" $path)) -}}
{{- $key := printf "%s.path" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $key "an absolute path on a volume (/work, /models)" $path) -}}
{{- end -}}
{{- end -}}

{{/* Is it a task file, by path or text, which may name its rows itself? Takes a block of rows. */}}
{{- define "fino1.ownTask" -}}
{{- if regexMatch "\\.ya?ml$|\\n" (default "" .task) -}}
true
{{- end -}}
{{- end -}}

{{/* A part that is among the parts, of rows that are read: (list STATE PATH BLOCK). */}}
{{- define "fino1.check.fold" -}}
{{- $rows := index . 2 -}}
{{- $parts := splitList "/" $rows.fold -}}
{{- $last := index $parts 1 -}}
{{- $path := printf "%s.fold" (index . 1) -}}
{{- if gt (index $parts 0 | int) (int $last) -}}
{{- $expected := printf "a part from 1/%s to %s/%s" $last $last $last -}}
{{- include "fino1.problem" (list (index . 0) $path $expected $rows.fold) -}}
{{- else if not (or $rows.path $rows.hub (include "fino1.ownTask" $rows)) -}}
{{- include "fino1.problem" (list (index . 0) $path "none for rows that are generated" $rows.fold) -}}
{{- end -}}
{{- end -}}

{{/* Where rows come from: (list STATE PATH BLOCK). */}}
{{- define "fino1.check.rows" -}}
{{- $rows := index . 2 -}}
{{- if and $rows.path $rows.hub -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "one of path, hub" "both") -}}
{{- else if not (or (eq (default "" $rows.task) "ledger") $rows.path $rows.hub (include "fino1.ownTask" $rows)) -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "path or hub, or task: ledger" "none") -}}
{{- else if $rows.fold -}}
{{- include "fino1.check.fold" . -}}
{{- end -}}
{{- include "fino1.check.path" . -}}
{{- end -}}
