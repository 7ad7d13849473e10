{{/* The form of answers, and what prompts hold. fino1/spec/inputs.py has the same checks: answer_complaints. */}}
{{- define "fino1.check.answer" -}}
{{- $rows := index . 2 -}}
{{- $task := default "" $rows.task -}}
{{- if and (eq (default "text" $rows.answer) "program") (eq $task "ledger") -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.answer" (index . 1)) "text with task: ledger" "program") -}}
{{- else if and $rows.evidence (ne $task "finqa") -}}
{{- $path := printf "%s.evidence" (index . 1) -}}
{{- include "fino1.problem" (list (index . 0) $path "none but for task finqa" $rows.evidence) -}}
{{- end -}}
{{- end -}}

{{/* Training rows that are answered by programs; takes doc and state. */}}
{{- define "fino1.check.dataAnswer" -}}
{{- $data := .doc.data -}}
{{- include "fino1.check.answer" (list .state "data" $data) -}}
{{- if eq (default "text" $data.answer) "program" -}}
{{- $hasPrograms := has (default "" $data.task) (list "finqa" "convfinqa") -}}
{{- if or (eq .doc.method "verifier") (and (eq .doc.method "sft") (not $hasPrograms)) -}}
{{- $but := ternary " but for task finqa or convfinqa" "" (eq .doc.method "sft") -}}
{{- include "fino1.problem" (list .state "data.answer" (printf "text with method %s%s" .doc.method $but) "program") -}}
{{- else if ne $data.prompt "fino1" -}}
{{- include "fino1.problem" (list .state "data.prompt" "fino1 with answer: program" $data.prompt) -}}
{{- end -}}
{{- if and (eq .doc.method "ppo") (ne .doc.ppo.reward.source "rule") -}}
{{- $expected := "rule with data.answer: program" -}}
{{- include "fino1.problem" (list .state "ppo.reward.source" $expected .doc.ppo.reward.source) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rows that models are asked: (list STATE PATH ROWS METHOD PROMPT). */}}
{{- define "fino1.check.askedAnswer" -}}
{{- include "fino1.check.answer" . -}}
{{- if eq (default "text" (index . 2).answer) "program" -}}
{{- if eq (index . 3) "paths" -}}
{{- include "fino1.problem" (list (index . 0) (printf "%s.answer" (index . 1)) "text with method paths" "program") -}}
{{- else if ne (index . 4) "fino1" -}}
{{- include "fino1.problem" (list (index . 0) "eval.prompt" "fino1 with answer: program" (index . 4)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
