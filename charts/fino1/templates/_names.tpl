{{/* JSON of a document with these paths alone, where it has them: (list DOCUMENT PATHS). */}}
{{- define "fino1.only" -}}
{{- $found := dict -}}
{{- range $path := index . 1 -}}
{{- $keys := splitList "." $path -}}
{{- $value := index $ 0 -}}
{{- range $key := $keys -}}
{{- $value = index $value $key -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- range $key := reverse $keys -}}
{{- $value = dict $key $value -}}
{{- end -}}
{{- $found = mergeOverwrite $found $value -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* A name and the first ten hex digits of a text's SHA-256: (list NAME TEXT). */}}
{{- define "fino1.hashed" -}}
{{- index . 1 | sha256sum | trunc 10 | printf "%s-%s" (index . 0) -}}
{{- end -}}

{{/* The kind of the object that runs a document. */}}
{{- define "fino1.kind" -}}
{{- if or (has .method (list "eval" "paths")) (eq .backend "job") -}}
Job
{{- else if eq .backend "jobset" -}}
JobSet
{{- else if eq .backend "trainjob" -}}
TrainJob
{{- else -}}
PyTorchJob
{{- end -}}
{{- end -}}

{{/* JSON of the models that the pods of a document ask over HTTP; none for training. */}}
{{- define "fino1.asked" -}}
{{- if eq .method "eval" -}}
{{- compact (list .eval.extraction) | concat .eval.models | toJson -}}
{{- else if eq .method "paths" -}}
{{- compact (list .paths.writer .paths.judge) | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* JSON of the one of these models that is served in the pod; an empty map without one. */}}
{{- define "fino1.served" -}}
{{- $found := dict -}}
{{- range . -}}
{{- if not .base_url -}}
{{- $found = . -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Processes of each pod of a document. */}}
{{- define "fino1.ranks" -}}
{{- .processes_per_node | default (max .gpus_per_node 1) -}}
{{- end -}}

{{/* The chart's name and version as a label's value; takes the root. */}}
{{- define "fino1.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* JSON of several maps in one. The later ones win, also with empty text, which mergeOverwrite would pass over. */}}
{{- define "fino1.merged" -}}
{{- $all := dict -}}
{{- range $map := . -}}
{{- range $key, $value := $map -}}
{{- $_ := set $all $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}
