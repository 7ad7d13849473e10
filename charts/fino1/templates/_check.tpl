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
{{- $paths := .doc.paths -}}
{{- $roles := dict "ppo.reward.judge" .doc.ppo.reward.judge "eval.extraction" .doc.eval.extraction -}}
{{- range $at, $model := merge $roles (dict "paths.writer" $paths.writer "paths.judge" $paths.judge) -}}
{{- with $model -}}
{{- include "fino1.check.model" (list $.state $at .) -}}
{{- include "fino1.check.evalModel" (list $.state $at .) -}}
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
