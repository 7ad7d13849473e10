{{/*
Cross-field checks that JSON Schema cannot express, of a complete document: takes doc and state. Python has each check,
with the same path; tests/charts compares.
*/}}
{{- define "fino1.check" -}}
{{- include "fino1.check.pods" . -}}
{{- include "fino1.check.model" (list .state "model" .doc.model) -}}
{{- include "fino1.check.model" (list .state "ppo.value_model" .doc.ppo.value_model) -}}
{{- include "fino1.check.model" (list .state "ppo.reward.model" .doc.ppo.reward.model) -}}
{{- range $i, $model := .doc.eval.models -}}
{{- include "fino1.check.model" (list $.state (printf "eval.models.%d" $i) $model) -}}
{{- include "fino1.check.evalModel" (list $.state (printf "eval.models.%d" $i) $model) -}}
{{- end -}}
{{- with .doc.ppo.reward.judge -}}
{{- include "fino1.check.model" (list $.state "ppo.reward.judge" .) -}}
{{- include "fino1.check.evalModel" (list $.state "ppo.reward.judge" .) -}}
{{- end -}}
{{- range $role := list "writer" "judge" -}}
{{- with get $.doc.paths $role -}}
{{- include "fino1.check.model" (list $.state (printf "paths.%s" $role) .) -}}
{{- include "fino1.check.evalModel" (list $.state (printf "paths.%s" $role) .) -}}
{{- end -}}
{{- end -}}
{{- if eq .doc.method "eval" -}}
{{- include "fino1.check.eval" . -}}
{{- else if eq .doc.method "paths" -}}
{{- include "fino1.check.paths" . -}}
{{- else -}}
{{- include "fino1.check.batch" . -}}
{{- include "fino1.check.data" . -}}
{{- include "fino1.check.dataAnswer" . -}}
{{- include "fino1.check.launch" . -}}
{{- end -}}
{{- if eq .doc.method "ppo" -}}
{{- include "fino1.check.ppo" . -}}
{{- else if and (eq .doc.method "verifier") .doc.model.chat_template_kwargs -}}
{{- include "fino1.problem" (list .state "model.chat_template_kwargs" "none with method verifier" "some") -}}
{{- end -}}
{{- end -}}

{{/* A path in a pod: (list STATE PATH BLOCK). */}}
{{- define "fino1.check.path" -}}
{{- $path := (index . 2).path -}}
{{- if and $path (not (hasPrefix "/" $path)) -}}
{{- $key := printf "%s.path" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $key "an absolute path on a volume (/work, /models)" $path) -}}
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
{{- else if not (or $rows.path $rows.hub) -}}
{{- include "fino1.problem" (list (index . 0) $path "none for rows that are generated" $rows.fold) -}}
{{- end -}}
{{- end -}}

{{/* Where rows come from: (list STATE PATH BLOCK). */}}
{{- define "fino1.check.rows" -}}
{{- $rows := index . 2 -}}
{{- if and $rows.path $rows.hub -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "one of path, hub" "both") -}}
{{- else if and (ne (default "" $rows.task) "ledger") (not (or $rows.path $rows.hub)) -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "path or hub, or task: ledger" "none") -}}
{{- else if $rows.fold -}}
{{- include "fino1.check.fold" . -}}
{{- end -}}
{{- include "fino1.check.path" . -}}
{{- end -}}
