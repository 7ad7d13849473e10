{{/*
What no schema can say of a complete document: (dict "doc" … "state" …). Each check stands in fino1/spec.py or
fino1/k8s/plan.py too, with the same path; tests/charts compares.
*/}}
{{- define "fino1.check" -}}
{{- $doc := .doc -}}{{- $state := .state -}}
{{- $work := $doc.volumes.work -}}{{- $models := $doc.volumes.models -}}
{{- if and $work.create $models.create (eq $work.claimName $models.claimName) -}}{{- include "fino1.problem" (list $state "volumes.models.claimName" "another than volumes.work.claimName, or create: false" $models.claimName) -}}{{- end -}}
{{- range $key := keys $doc.env $doc.secretEnv | uniq | sortAlpha -}}
  {{- $block := ternary "secretEnv" "env" (hasKey $doc.secretEnv $key) -}}
  {{- if regexMatch $state.reserved $key -}}{{- include "fino1.problem" (list $state (printf "%s.%s" $block $key) "a name that the pod does not set itself" $key) -}}
  {{- else if and (hasKey $doc.env $key) (hasKey $doc.secretEnv $key) -}}{{- include "fino1.problem" (list $state (printf "secretEnv.%s" $key) "it in env or in secretEnv" "both") -}}
  {{- end -}}
{{- end -}}
{{- include "fino1.check.model" (list $state "model" $doc.model) -}}
{{- include "fino1.check.model" (list $state "ppo.value_model" $doc.ppo.value_model) -}}
{{- include "fino1.check.model" (list $state "ppo.reward.model" $doc.ppo.reward.model) -}}
{{- range $i, $model := $doc.eval.models -}}
  {{- include "fino1.check.model" (list $state (printf "eval.models.%d" $i) $model) -}}
  {{- if $model.init -}}{{- include "fino1.problem" (list $state (printf "eval.models.%d.init" $i) "none" "one") -}}
  {{- else if not (or $model.hub $model.path $model.run $model.base_url) -}}{{- include "fino1.problem" (list $state (printf "eval.models.%d" $i) "one of hub, path, run, base_url" "none") -}}
  {{- end -}}
{{- end -}}
{{- if eq $doc.method "eval" -}}{{- include "fino1.check.eval" . -}}{{- else -}}{{- include "fino1.check.train" . -}}{{- end -}}
{{- end -}}

{{/* One model reference: (list state path model). */}}
{{- define "fino1.check.model" -}}
{{- $state := index . 0 -}}{{- $path := index . 1 -}}{{- $model := index . 2 -}}
{{- $given := list -}}
{{- range $key := list "hub" "path" "run" "init" -}}{{- if hasKey $model $key -}}{{- $given = append $given $key -}}{{- end -}}{{- end -}}
{{- if gt (len $given) 1 -}}{{- include "fino1.problem" (list $state $path "one of hub, path, run, init" (join " and " $given)) -}}
{{- else if and $model.revision (not $model.hub) -}}{{- include "fino1.problem" (list $state (printf "%s.revision" $path) "none without hub" $model.revision) -}}
{{- end -}}
{{- include "fino1.check.path" (list $state $path $model) -}}
{{- with $model.init -}}
  {{- $heads := int .num_attention_heads -}}{{- $hidden := int .hidden_size -}}
  {{- if mod $hidden $heads -}}{{- include "fino1.problem" (list $state (printf "%s.init.hidden_size" $path) (printf "a multiple of num_attention_heads=%d" $heads) $hidden) -}}
  {{- else if mod (div $hidden $heads) 2 -}}{{- include "fino1.problem" (list $state (printf "%s.init.hidden_size" $path) (printf "an even number for each of num_attention_heads=%d" $heads) $hidden) -}}
  {{- else if mod $heads (int .num_key_value_heads) -}}{{- include "fino1.problem" (list $state (printf "%s.init.num_key_value_heads" $path) (printf "a divisor of num_attention_heads=%d" $heads) .num_key_value_heads) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* A path in a pod: (list state path block). */}}
{{- define "fino1.check.path" -}}
{{- $block := index . 2 -}}
{{- if and $block.path (not (hasPrefix "/" $block.path)) -}}{{- include "fino1.problem" (list (index . 0) (printf "%s.path" (index . 1)) "an absolute path on a volume (/work, /models)" $block.path) -}}{{- end -}}
{{- end -}}
