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

{{/* Does Argo CD apply this? manifests/gitops/argocd/values.yaml says so (docs/gitops.md); takes the root. */}}
{{- define "fino1.isGitops" -}}
{{- with .Values.global -}}
{{- if .gitops -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
