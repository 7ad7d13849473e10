{{/* An evaluation has models and tasks, and no trackers; takes doc and state. */}}
{{- define "fino1.check.eval" -}}
{{- with .doc.report_to -}}
{{- include "fino1.problem" (list $.state "report_to" "none with method eval" (join ", " .)) -}}
{{- end -}}
{{- range $key := list "models" "tasks" -}}
{{- if not (get $.doc.eval $key) -}}
{{- include "fino1.problem" (list $.state (printf "eval.%s" $key) "at least one" "none") -}}
{{- end -}}
{{- end -}}
{{- range $i, $task := .doc.eval.tasks -}}
{{- include "fino1.check.rows" (list $.state (printf "eval.tasks.%d" $i) $task) -}}
{{- end -}}
{{- range $i, $model := .doc.eval.models -}}
{{- $path := printf "eval.models.%d" $i -}}
{{- include "fino1.check.endpoint" (merge (dict "model" $model "path" $path) $) -}}
{{- end -}}
{{- include "fino1.check.evalNames" . -}}
{{- end -}}

{{/* A model behind an endpoint: its key is of a Secret, and with a budget in dollars it has a price. */}}
{{- define "fino1.check.endpoint" -}}
{{- $key := .model.api_key_env -}}
{{- if and $key (not (hasKey .doc.secretEnv $key)) -}}
{{- include "fino1.problem" (list .state (printf "%s.api_key_env" .path) "a variable of secretEnv" $key) -}}
{{- end -}}
{{- $budget := default dict .doc.eval.budget -}}
{{- if and .model.base_url (not .model.price) $budget.dollars -}}
{{- include "fino1.problem" (list .state (printf "%s.price" .path) "one with eval.budget.dollars" "none") -}}
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
