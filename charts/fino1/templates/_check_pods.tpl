{{/*
What Kubernetes would refuse of the pods, or no pod start with; takes doc and state. fino1/spec/pods.py has each check.
*/}}
{{- define "fino1.check.pods" -}}
{{- include "fino1.check.volumes" . -}}
{{- include "fino1.check.env" . -}}
{{- include "fino1.check.image" . -}}
{{- include "fino1.check.labels" . -}}
{{- range $i, $toleration := .doc.tolerations -}}
{{- include "fino1.check.toleration" (list $.state (printf "tolerations.%d" $i) $toleration) -}}
{{- end -}}
{{- include "fino1.check.resources" . -}}
{{- end -}}

{{- define "fino1.check.volumes" -}}
{{- $work := .doc.volumes.work -}}
{{- $models := .doc.volumes.models -}}
{{- if and $work.create $models.create (eq $work.claimName $models.claimName) -}}
{{- $expected := "another than volumes.work.claimName, or create: false" -}}
{{- include "fino1.problem" (list .state "volumes.models.claimName" $expected $models.claimName) -}}
{{- end -}}
{{- range $name, $claim := .doc.volumes -}}
{{- if not (include "fino1.isMore" (list $claim.size "0")) -}}
{{- include "fino1.problem" (list $.state (printf "volumes.%s.size" $name) "more than 0" $claim.size) -}}
{{- end -}}
{{- $modes := $claim.accessModes -}}
{{- if not $modes -}}
{{- include "fino1.problem" (list $.state (printf "volumes.%s.accessModes" $name) "at least one" "none") -}}
{{- else if and (has "ReadWriteOncePod" $modes) (gt (len $modes) 1) -}}
{{- $path := printf "volumes.%s.accessModes" $name -}}
{{- include "fino1.problem" (list $.state $path "ReadWriteOncePod alone" (join ", " $modes)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fino1.check.env" -}}
{{- range $key := keys .doc.env .doc.secretEnv | uniq | sortAlpha -}}
{{- if regexMatch $.state.reserved.env $key -}}
{{- $path := printf "%s.%s" (ternary "secretEnv" "env" (hasKey $.doc.secretEnv $key)) $key -}}
{{- include "fino1.problem" (list $.state $path "a name that the pod does not set itself" $key) -}}
{{- else if and (hasKey $.doc.env $key) (hasKey $.doc.secretEnv $key) -}}
{{- include "fino1.problem" (list $.state (printf "secretEnv.%s" $key) "it in env or in secretEnv" "both") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A tag in the repository is for a digest only: image.tag would be a second one. */}}
{{- define "fino1.check.image" -}}
{{- $name := default "" .doc.image.repository -}}
{{- if and (splitList "/" $name | last | contains ":") (not .doc.image.digest) -}}
{{- include "fino1.problem" (list .state "image.repository" "a name without its tag (image.tag)" $name) -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the run's pods are found, and what puts a pod in its gang. */}}
{{- define "fino1.check.labels" -}}
{{- range $block, $gangKey := .state.reserved.gang -}}
{{- range $key, $_ := get $.doc $block -}}
{{- $isOurs := and (eq $block "podLabels") (regexMatch $.state.reserved.labels $key) -}}
{{- if or $isOurs (and $.doc.gang (eq $key $gangKey)) -}}
{{- $path := printf "%s.%s" $block $key -}}
{{- include "fino1.problem" (list $.state $path "a key that the pod does not set itself" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
