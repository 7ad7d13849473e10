{{/*
JSON {"units": […]}: a unit is what one run object runs, as fino1/k8s/objects/unit.py plans it.
It is computed once and cached in .Units.
A unit has instance, name, full (its objects' name), doc (its complete document), config (the text of config.json).
*/}}
{{- define "fino1.units" -}}
{{- if not (hasKey . "Units") -}}
{{- $_ := include "fino1.plan" . | set . "Units" -}}
{{- end -}}
{{- .Units -}}
{{- end -}}

{{/* Computes the units. Fails with every problem of the values; `helm lint` goes on after that, with no unit. */}}
{{- define "fino1.plan" -}}
{{- $spec := .Files.Get "files/spec.json" | fromJson -}}
{{- $state := dict "problems" list "reserved" $spec.reserved "bytes" $spec.bytes -}}
{{- if not (regexMatch $spec.name .Release.Name) -}}
{{- $expected := "a letter and at most 33 lower-case letters, digits and -, the last no -" -}}
{{- include "fino1.problem" (list $state "name" $expected .Release.Name) -}}
{{- end -}}
{{- if and (include "fino1.isGitops" .) (kindIs "invalid" .Values.method) -}}
{{- include "fino1.problem" (list $state "method" "a value" "none") -}}
{{- end -}}
{{- $values := omit .Values "global" -}}
{{- $root := dict "value" $values "node" $spec.root "path" "" "state" $state -}}
{{- $doc := include "fino1.complete" $root | fromJson -}}
{{- if not $state.problems -}}
{{- include "fino1.check" (dict "doc" $doc "state" $state) -}}
{{- end -}}
{{- if $state.problems -}}
{{- join "\n" $state.problems | printf "\n%s" | fail -}}
{{- toJson (dict "units" list) -}}
{{- else -}}
{{- $given := $doc -}}
{{- if $spec.added -}}
{{- $_ := set $state "leavesAddedOut" true -}}
{{- $given = include "fino1.complete" $root | fromJson -}}
{{- end -}}
{{- $unit := dict "root" $ "spec" $spec "doc" $doc "given" $given "name" .Release.Name -}}
{{- printf "{\"units\":[%s]}" (include "fino1.units.json" $unit) -}}
{{- end -}}
{{- end -}}

{{/* Does Argo CD apply what is rendered? manifests/gitops/argocd/values.yaml says so (docs/gitops.md); takes the root. */}}
{{- define "fino1.isGitops" -}}
{{- with .Values.global -}}
{{- if .gitops -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An evaluation has a unit for each model, so that one more changes no other's objects; other runs are one. */}}
{{- define "fino1.units.json" -}}
{{- if ne .doc.method "eval" -}}
{{- include "fino1.unit" . -}}
{{- else -}}
{{- $units := list -}}
{{- range $i, $model := .doc.eval.models -}}
{{- $name := printf "%s-%s" $.root.Release.Name (replace "." "-" $model.name) | trunc 34 | trimAll "-" -}}
{{- $doc := deepCopy $.doc -}}
{{- $_ := set $doc.eval "models" (list $model) -}}
{{- $given := deepCopy $.given -}}
{{- $_ := set $given.eval "models" (index $.given.eval.models $i | list) -}}
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
