{{/* An evaluation has models and tasks; takes doc and state. */}}
{{- define "fino1.check.eval" -}}
{{- range $key := list "models" "tasks" -}}
{{- if not (get $.doc.eval $key) -}}
{{- include "fino1.problem" (list $.state (printf "eval.%s" $key) "at least one" "none") -}}
{{- end -}}
{{- end -}}
{{- include "fino1.check.asking" . -}}
{{- range $i, $model := .doc.eval.models -}}
{{- $path := printf "eval.models.%d" $i -}}
{{- include "fino1.check.endpoint" (merge (dict "model" $model "path" $path) $) -}}
{{- end -}}
{{- include "fino1.check.evalNames" . -}}
{{- if and (gt (int .doc.eval.samples) 1) (eq (float64 .doc.eval.temperature) 0.0) -}}
{{- $expected := "1 with eval.temperature 0, whose answers are all the same" -}}
{{- include "fino1.problem" (list .state "eval.samples" $expected .doc.eval.samples) -}}
{{- end -}}
{{- end -}}

{{/* A search has tasks and a writer, and no pod serves two models; takes doc and state. */}}
{{- define "fino1.check.paths" -}}
{{- $paths := .doc.paths -}}
{{- if not $paths.tasks -}}
{{- include "fino1.problem" (list .state "paths.tasks" "at least one" "none") -}}
{{- end -}}
{{- if not $paths.writer -}}
{{- include "fino1.problem" (list .state "paths.writer" "a model" "none") -}}
{{- else if and $paths.judge (not $paths.writer.base_url) (not $paths.judge.base_url) -}}
{{- include "fino1.problem" (list .state "paths.judge.base_url" "one where the pod serves the writer" "none") -}}
{{- end -}}
{{- include "fino1.check.asking" . -}}
{{- range $role := list "writer" "judge" -}}
{{- with get $paths $role -}}
{{- include "fino1.check.endpoint" (merge (dict "model" . "path" (printf "paths.%s" $role)) $) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What asks models has rows, and no trackers; takes doc and state. */}}
{{- define "fino1.check.asking" -}}
{{- with .doc.report_to -}}
{{- $expected := printf "none with method %s" $.doc.method -}}
{{- include "fino1.problem" (list $.state "report_to" $expected (join ", " .)) -}}
{{- end -}}
{{- range $key := list "tasks" "exclude" -}}
{{- range $i, $rows := get (get $.doc $.doc.method) $key | default list -}}
{{- $path := printf "%s.%s.%d" $.doc.method $key $i -}}
{{- include "fino1.check.rows" (list $.state $path $rows) -}}
{{- include "fino1.check.askedAnswer" (list $.state $path $rows $.doc.method (get $.doc $.doc.method).prompt) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A model behind an endpoint: its key is of a Secret, and with a budget in dollars it has a price. */}}
{{- define "fino1.check.endpoint" -}}
{{- $key := .model.api_key_env -}}
{{- if and $key (not (hasKey .doc.secretEnv $key)) -}}
{{- include "fino1.problem" (list .state (printf "%s.api_key_env" .path) "a variable of secretEnv" $key) -}}
{{- end -}}
{{- $budget := default dict (get .doc .doc.method).budget -}}
{{- range $key := list "dollars" "dollars_per_question" -}}
{{- if and $.model.base_url (not $.model.price) (get $budget $key) -}}
{{- $expected := printf "one with %s.budget.%s" $.doc.method $key -}}
{{- include "fino1.problem" (list $.state (printf "%s.price" $.path) $expected "none") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Each model has a name of its own. */}}
{{- define "fino1.check.evalNames" -}}
{{- $names := list -}}
{{- range .doc.eval.models -}}
{{- if has .name $names -}}
{{- include "fino1.problem" (list $.state "eval.models" "different names" (printf "%s twice" .name)) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
