{{/*
The global batch is a multiple of what the ranks take at a time; takes doc and state.
fino1/spec/train.py has the same check: batch_complaints.
*/}}
{{- define "fino1.check.batch" -}}
{{- $method := .doc.method -}}
{{- $block := get .doc $method -}}
{{- $ranks := mul .doc.nodes (include "fino1.ranks" .doc) -}}
{{- $unit := mul (default 1 $block.num_mini_batches) $ranks $block.per_device_train_batch_size -}}
{{- $steps := div $block.global_batch_size $unit -}}
{{- if mod $block.global_batch_size $unit -}}
{{- $expected := printf "a multiple of %d (ranks × per_device_train_batch_size" $unit -}}
{{- $expected = printf "%s%s)" $expected (ternary " × num_mini_batches" "" (eq $method "ppo")) -}}
{{- $path := printf "%s.global_batch_size" $method -}}
{{- include "fino1.problem" (list .state $path $expected $block.global_batch_size) -}}
{{- else if ne (int $steps) (int (default $steps $block.gradient_accumulation_steps)) -}}
{{- $path := printf "%s.gradient_accumulation_steps" $method -}}
{{- include "fino1.problem" (list .state $path $steps $block.gradient_accumulation_steps) -}}
{{- end -}}
{{- $share := mul (default 1 $block.num_mini_batches) $ranks -}}
{{- $most := div $block.global_batch_size $share -}}
{{- if and (not (mod $block.global_batch_size $share)) (mod $most (default 1 $block.num_generations)) -}}
{{- $expected := printf "a divisor of %d (global_batch_size ÷ num_mini_batches ÷ ranks)" $most -}}
{{- include "fino1.problem" (list .state "ppo.num_generations" $expected $block.num_generations) -}}
{{- end -}}
{{- if and $block.leave_one_out (le (int $block.num_generations) 1) -}}
{{- include "fino1.problem" (list .state "ppo.leave_one_out" "false with num_generations: 1" true) -}}
{{- end -}}
{{- end -}}

{{/* Training rows, and those that are left out; SFT and PPO have default rows. */}}
{{- define "fino1.check.data" -}}
{{- $data := .doc.data -}}
{{- if $data.run -}}
{{- $others := ternary "method verifier" "task, path or hub" (eq .doc.method "verifier") -}}
{{- if or (eq .doc.method "verifier") $data.task $data.path $data.hub -}}
{{- include "fino1.problem" (list .state "data.run" (printf "none with %s" $others) $data.run) -}}
{{- end -}}
{{- else if or (eq .doc.method "verifier") $data.task $data.path $data.hub -}}
{{- include "fino1.check.rows" (list .state "data" $data) -}}
{{- end -}}
{{- range $i, $rows := $data.exclude -}}
{{- include "fino1.check.rows" (list $.state (printf "data.exclude.%d" $i) $rows) -}}
{{- end -}}
{{- end -}}

{{/* How the model is divided over the ranks. */}}
{{- define "fino1.check.launch" -}}
{{- $stage := int .doc.launch.zero_stage -}}
{{- range $key, $least := dict "offload_optimizer_device" 1 "offload_param_device" 3 -}}
{{- if eq (get $.doc.launch $key) "none" -}}
{{- else if eq $.doc.method "ppo" -}}
{{- include "fino1.problem" (list $.state (printf "launch.%s" $key) "none with method ppo" "cpu") -}}
{{- else if lt $stage $least -}}
{{- $expected := printf "none with zero_stage: %d" $stage -}}
{{- include "fino1.problem" (list $.state (printf "launch.%s" $key) $expected "cpu") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fino1.check.ppo" -}}
{{- $stage := int .doc.launch.zero_stage -}}
{{- $ranks := mul .doc.nodes (include "fino1.ranks" .doc) -}}
{{- if and (gt $ranks 1) (has $stage (list 1 2)) -}}
{{- include "fino1.problem" (list .state "launch.zero_stage" "0 or 3 with method ppo and several ranks" $stage) -}}
{{- end -}}
{{- if .doc.model.init -}}
{{- $expected := "a trained policy (hub, path or run)" -}}
{{- include "fino1.problem" (list .state "model.init" $expected "random weights") -}}
{{- end -}}
{{- include "fino1.check.reward" . -}}
{{- end -}}
