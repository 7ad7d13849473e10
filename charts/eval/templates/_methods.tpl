{{/* The checks of training and of evaluation: (dict "doc" … "state" …). */}}
{{- define "fino1.check.train" -}}
{{- $doc := .doc -}}{{- $state := .state -}}{{- $method := $doc.method -}}{{- $block := index $doc $method -}}
{{- $ranks := mul $doc.nodes (default (max $doc.gpus_per_node 1) $doc.processes_per_node) -}}
{{- $unit := mul (default 1 $block.num_mini_batches) $ranks $block.per_device_train_batch_size -}}
{{- if mod $block.global_batch_size $unit -}}{{- include "fino1.problem" (list $state (printf "%s.global_batch_size" $method) (printf "a multiple of %d (ranks × per_device_train_batch_size%s)" $unit (ternary " × num_mini_batches" "" (eq $method "ppo"))) $block.global_batch_size) -}}
{{- else if and $block.gradient_accumulation_steps (ne (mul $block.gradient_accumulation_steps $unit) (int64 $block.global_batch_size)) -}}{{- include "fino1.problem" (list $state (printf "%s.gradient_accumulation_steps" $method) (div $block.global_batch_size $unit) $block.gradient_accumulation_steps) -}}
{{- end -}}
{{- if or (eq $method "verifier") $doc.data.task $doc.data.path $doc.data.hub -}}{{- include "fino1.check.rows" (list $state "data" $doc.data true) -}}{{- end -}}
{{- range $i, $rows := $doc.data.exclude -}}{{- include "fino1.check.rows" (list $state (printf "data.exclude.%d" $i) $rows true) -}}{{- end -}}
{{- $stage := int $doc.launch.zero_stage -}}
{{- if and (eq $method "ppo") (gt (int $ranks) 1) (has $stage (list 1 2)) -}}{{- include "fino1.problem" (list $state "launch.zero_stage" "0 or 3 with method ppo and several ranks" $stage) -}}{{- end -}}
{{- range $key, $least := dict "offload_optimizer_device" 1 "offload_param_device" 3 -}}
  {{- if ne (get $doc.launch $key) "none" -}}
    {{- if eq $method "ppo" -}}{{- include "fino1.problem" (list $state (printf "launch.%s" $key) "none with method ppo" "cpu") -}}
    {{- else if lt $stage $least -}}{{- include "fino1.problem" (list $state (printf "launch.%s" $key) (printf "none with zero_stage: %d" $stage) "cpu") -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if eq $method "ppo" -}}
  {{- if $doc.model.init -}}{{- include "fino1.problem" (list $state "model.init" "a trained policy (hub, path or run)" "random weights") -}}{{- end -}}
  {{- $reward := $doc.ppo.reward -}}
  {{- if and (eq $reward.source "model") (not (or $reward.model.hub $reward.model.path $reward.model.run)) -}}{{- include "fino1.problem" (list $state "ppo.reward.model" "hub, path or run with source: model" (ternary "random weights" "none" (hasKey $reward.model "init"))) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fino1.check.eval" -}}
{{- $doc := .doc -}}{{- $state := .state -}}
{{- if $doc.report_to -}}{{- include "fino1.problem" (list $state "report_to" "none with method eval" (join ", " $doc.report_to)) -}}{{- end -}}
{{- if not $doc.eval.models -}}{{- include "fino1.problem" (list $state "eval.models" "at least one" "none") -}}{{- end -}}
{{- if not $doc.eval.tasks -}}{{- include "fino1.problem" (list $state "eval.tasks" "at least one" "none") -}}{{- end -}}
{{- range $i, $task := $doc.eval.tasks -}}{{- include "fino1.check.rows" (list $state (printf "eval.tasks.%d" $i) $task false) -}}{{- end -}}
{{- $names := list -}}
{{- range $i, $model := $doc.eval.models -}}
  {{- if has $model.name $names -}}{{- include "fino1.problem" (list $state "eval.models" "different names" (printf "%s twice" $model.name)) -}}{{- end -}}
  {{- $names = append $names $model.name -}}
  {{- if and $model.api_key_env (not (hasKey $doc.secretEnv $model.api_key_env)) -}}{{- include "fino1.problem" (list $state (printf "eval.models.%d.api_key_env" $i) "a variable of secretEnv" $model.api_key_env) -}}{{- end -}}
  {{- if and $model.base_url (not $model.price) (default dict $doc.eval.budget).dollars -}}{{- include "fino1.problem" (list $state (printf "eval.models.%d.price" $i) "one with eval.budget.dollars" "none") -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where rows come from: (list state path block training). */}}
{{- define "fino1.check.rows" -}}
{{- $state := index . 0 -}}{{- $path := index . 1 -}}{{- $rows := index . 2 -}}
{{- if and $rows.path $rows.hub -}}{{- include "fino1.problem" (list $state $path "one of path, hub" "both") -}}
{{- else if and (index . 3) $rows.hub $rows.task -}}{{- include "fino1.problem" (list $state (printf "%s.hub" $path) "C7 rows, or a path with a task" $rows.hub) -}}
{{- else if and (ne (default "" $rows.task) "ledger") (not (or $rows.path $rows.hub)) -}}{{- include "fino1.problem" (list $state $path "path or hub, or task: ledger" "none") -}}
{{- end -}}
{{- include "fino1.check.path" (list $state $path $rows) -}}
{{- end -}}
