{{/* PPO's reward: its classifier, its judge. fino1/spec/ppo.py has the same checks: reward_complaints. */}}
{{- define "fino1.check.reward" -}}
{{- $reward := .doc.ppo.reward -}}
{{- $classifier := $reward.model -}}
{{- if and (eq $reward.source "model") (not (or $classifier.hub $classifier.path $classifier.run)) -}}
{{- $got := ternary "random weights" "none" (hasKey $classifier "init") -}}
{{- include "fino1.problem" (list .state "ppo.reward.model" "hub, path or run with source: model" $got) -}}
{{- end -}}
{{- if $reward.judge -}}
{{- include "fino1.check.judge" . -}}
{{- else if has $reward.source (list "judge" "mix") -}}
{{- $expected := printf "a model with base_url with source: %s" $reward.source -}}
{{- include "fino1.problem" (list .state "ppo.reward.judge" $expected "none") -}}
{{- end -}}
{{- end -}}

{{/* The judge has an endpoint, a key of a Secret, and with a budget in dollars a price. */}}
{{- define "fino1.check.judge" -}}
{{- $judge := .doc.ppo.reward.judge -}}
{{- $key := $judge.api_key_env -}}
{{- $budget := default dict $judge.budget -}}
{{- if not $judge.base_url -}}
{{- include "fino1.problem" (list .state "ppo.reward.judge.base_url" "one" "none") -}}
{{- end -}}
{{- if and $key (not (hasKey .doc.secretEnv $key)) -}}
{{- include "fino1.problem" (list .state "ppo.reward.judge.api_key_env" "a variable of secretEnv" $key) -}}
{{- end -}}
{{- if and $budget.dollars (not $judge.price) -}}
{{- $expected := "one with ppo.reward.judge.budget.dollars" -}}
{{- include "fino1.problem" (list .state "ppo.reward.judge.price" $expected "none") -}}
{{- end -}}
{{- end -}}
