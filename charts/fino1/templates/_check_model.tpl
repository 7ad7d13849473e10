{{/* A model reference: (list STATE PATH MODEL). */}}
{{- define "fino1.check.model" -}}
{{- $model := index . 2 -}}
{{- $given := list -}}
{{- range $key := list "hub" "path" "run" "init" -}}
{{- if hasKey $model $key -}}
{{- $given = append $given $key -}}
{{- end -}}
{{- end -}}
{{- if gt (len $given) 1 -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "one of hub, path, run, init" (join " and " $given)) -}}
{{- else if and $model.revision (not $model.hub) -}}
{{- $path := printf "%s.revision" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $path "none without hub" $model.revision) -}}
{{- end -}}
{{- range $name, $_ := $model.chat_template_kwargs -}}
{{- if regexMatch (index $ 0).reserved.variables $name -}}
{{- $path := printf "%s.chat_template_kwargs.%s" (index $ 1) $name -}}
{{- include "fino1.problem" (list (index $ 0) $path "a variable that fino1 does not set itself" $name) -}}
{{- end -}}
{{- end -}}
{{- include "fino1.check.path" . -}}
{{- with $model.init -}}
{{- include "fino1.check.init" (list (index $ 0) (printf "%s.init" (index $ 1)) .) -}}
{{- end -}}
{{- end -}}

{{/* Checks attention head counts against hidden_size, of a model with random weights: (list STATE PATH INIT). */}}
{{- define "fino1.check.init" -}}
{{- $init := index . 2 -}}
{{- $heads := int $init.num_attention_heads -}}
{{- $hidden := int $init.hidden_size -}}
{{- if mod $hidden $heads -}}
{{- $expected := printf "a multiple of num_attention_heads=%d" $heads -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.hidden_size" (index . 1)) $expected $hidden) -}}
{{- else if mod (div $hidden $heads) 2 -}}
{{- $expected := printf "an even number for each of num_attention_heads=%d" $heads -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.hidden_size" (index . 1)) $expected $hidden) -}}
{{- else if mod $heads (int $init.num_key_value_heads) -}}
{{- $expected := printf "a divisor of num_attention_heads=%d" $heads -}}
{{- $path := printf "%s.num_key_value_heads" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $path $expected $init.num_key_value_heads) -}}
{{- end -}}
{{- end -}}

{{/* A model of an evaluation has weights or an endpoint: (list STATE PATH MODEL). */}}
{{- define "fino1.check.evalModel" -}}
{{- $model := index . 2 -}}
{{- if $model.init -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.init" (index . 1)) "none" "one") -}}
{{- else if not (or $model.hub $model.path $model.run $model.base_url) -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "one of hub, path, run, base_url" "none") -}}
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
