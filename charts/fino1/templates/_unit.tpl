{{/* An evaluation has a unit for each model, so that one more changes no other's objects; other runs are one. */}}
{{- define "fino1.units.json" -}}
{{- if ne .doc.method "eval" -}}
{{- include "fino1.unit" . -}}
{{- else -}}
{{- $units := list -}}
{{- range $i, $model := .doc.eval.models -}}
{{- $name := printf "%s-%s" $.root.Release.Name (replace "." "-" $model.name) | trunc 34 | trimAll "-" -}}
{{- $doc := include "fino1.alone" (list $.doc $i) | fromJson -}}
{{- $given := include "fino1.alone" (list $.given $i) | fromJson -}}
{{- $unit := dict "root" $.root "spec" $.spec "doc" $doc "given" $given "name" $name -}}
{{- $units = append $units (include "fino1.unit" $unit) -}}
{{- end -}}
{{- join "," $units -}}
{{- end -}}
{{- end -}}

{{/*
JSON of one unit: takes root, spec, doc, given (doc without added keys that have their default), name. Its pods run
`verb` and ask the models `asked`, of which one at most is `served` in the pod.
*/}}
{{- define "fino1.unit" -}}
{{- $config := include "fino1.only" (list .given (get .spec.configKeys .doc.method)) -}}
{{- $object := include "fino1.only" (list .given (get .spec.objectKeys .doc.method)) -}}
{{- $unit := dict "instance" .root.Release.Name "name" .name "doc" .doc "config" $config -}}
{{- $_ := set $unit "full" (include "fino1.hashed" (list .name $object)) -}}
{{- $_ := set $unit "directory" (include "fino1.hashed" (list .name $config)) -}}
{{- $_ := set $unit "kind" (include "fino1.kind" .doc) -}}
{{- $_ := set $unit "verb" (get (dict "eval" "evaluate" "paths" "paths") .doc.method | default "train") -}}
{{- $_ := set $unit "asked" (include "fino1.asked" .doc | fromJsonArray) -}}
{{- $_ := set $unit "served" (include "fino1.served" $unit.asked | fromJson) -}}
{{- $_ := set $unit "ranks" (include "fino1.ranks" .doc) -}}
{{- $_ := set $unit "chart" (include "fino1.chart" .root) -}}
{{- $_ := set $unit "version" .root.Chart.AppVersion -}}
{{- $_ := set $unit "fatal" .spec.fatal -}}
{{- $_ := set $unit "vllm" .spec.vllm -}}
{{- $_ := set $unit "isGitops" (include "fino1.isGitops" .root) -}}
{{- toJson $unit -}}
{{- end -}}

{{/* JSON of an evaluation's document with one model alone, which has its GPUs then: (list DOCUMENT NUMBER). */}}
{{- define "fino1.alone" -}}
{{- $doc := deepCopy (index . 0) -}}
{{- $model := index $doc.eval.models (index . 1) -}}
{{- if hasKey $model "gpus" -}}
{{- $_ := set $doc "gpus_per_node" $model.gpus -}}
{{- end -}}
{{- $_ := set $doc.eval "models" (omit $model "gpus" | list) -}}
{{- toJson $doc -}}
{{- end -}}
