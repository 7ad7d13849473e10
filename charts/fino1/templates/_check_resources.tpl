{{/* Requests and limits, of the pod as it is rendered; takes doc and state. fino1/spec/pods.py has each check. */}}
{{- define "fino1.check.resources" -}}
{{- $resources := .doc.resources -}}
{{- if eq .doc.gpu.resource (default "" .doc.rdma.resource) -}}
{{- include "fino1.problem" (list .state "rdma.resource" "another than gpu.resource" .doc.rdma.resource) -}}
{{- end -}}
{{- range $name, $key := dict .doc.gpu.resource "gpus_per_node" (default "" .doc.rdma.resource) "rdma.count" -}}
{{- with get $resources.limits $name -}}
{{- $path := printf "resources.limits.%s" $name -}}
{{- include "fino1.problem" (list $.state $path (printf "none beside %s" $key) .) -}}
{{- end -}}
{{- end -}}
{{- range $block, $amounts := $resources -}}
{{- range $name, $amount := $amounts -}}
{{- include "fino1.check.amount" (list $.state (printf "resources.%s.%s" $block $name) $name $amount $resources) -}}
{{- end -}}
{{- end -}}
{{- if has .doc.method (list "eval" "paths") -}}
{{- include "fino1.check.requests" (list .state $resources.requests $resources.limits) -}}
{{- else -}}
{{- $limits := include "fino1.merged" (list $resources.limits (include "fino1.devices" .doc | fromYaml)) | fromJson -}}
{{- include "fino1.check.requests" (list .state $resources.requests $limits) -}}
{{- $memory := $resources.limits.memory | default "0" -}}
{{- if and (gt (include "fino1.amount" $memory | float64) 0.0) (include "fino1.isMore" (list .doc.shmSize $memory)) -}}
{{- $expected := printf "at most resources.limits.memory, %s" $memory -}}
{{- include "fino1.problem" (list .state "shmSize" $expected .doc.shmSize) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A resource's quantity: (list STATE PATH NAME QUANTITY RESOURCES). */}}
{{- define "fino1.check.amount" -}}
{{- $name := index . 2 -}}
{{- $amount := include "fino1.amount" (index . 3) | float64 -}}
{{- $page := trimPrefix "hugepages-" $name -}}
{{- $expected := "" -}}
{{- if contains "/" $name -}}
{{- if and (include "fino1.isDevice" $name) (ne $amount (floor $amount)) -}}
{{- $expected = "a whole number" -}}
{{- end -}}
{{- else if and (ne $name "cpu") (not (regexMatch (index . 0).bytes (index . 3))) -}}
{{- $expected = "whole bytes such as 16Gi" -}}
{{- else if ne $page $name -}}
{{- if mod $amount (include "fino1.amount" $page | float64) -}}
{{- $expected = printf "a multiple of %s" $page -}}
{{- end -}}
{{- end -}}
{{- if $expected -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) $expected (index . 3)) -}}
{{- end -}}
{{- if hasPrefix "requests." $name -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) (trimPrefix "requests." $name) $name) -}}
{{- end -}}
{{- $all := concat (keys (index . 4).requests) (keys (index . 4).limits) -}}
{{- if and (ne $page $name) (not (or (has "cpu" $all) (has "memory" $all))) -}}
{{- include "fino1.problem" (list (index . 0) (index . 1) "cpu or memory beside it" "none") -}}
{{- end -}}
{{- end -}}

{{/* A request is at most its limit; of devices and huge pages it is the limit: (list STATE REQUESTS LIMITS). */}}
{{- define "fino1.check.requests" -}}
{{- range $name, $request := index . 1 -}}
{{- $limit := get (index $ 2) $name -}}
{{- $isFixed := or (include "fino1.isDevice" $name) (hasPrefix "hugepages-" $name) -}}
{{- $expected := "" -}}
{{- if not $limit -}}
{{- $expected = ternary "the same in resources.limits" "" (not (empty $isFixed)) -}}
{{- else if include "fino1.isMore" (list $request $limit) -}}
{{- $expected = printf "%s, %s" (ternary "the limit" "at most the limit" (not (empty $isFixed))) $limit -}}
{{- else if and $isFixed (include "fino1.isMore" (list $limit $request)) -}}
{{- $expected = printf "the limit, %s" $limit -}}
{{- end -}}
{{- if $expected -}}
{{- include "fino1.problem" (list (index $ 0) (printf "resources.requests.%s" $name) $expected $request) -}}
{{- end -}}
{{- end -}}
{{- end -}}
