{{/* The pod template that trains or evaluates a unit: (dict "unit" … "container" NAME). As fino1/k8s/pod.py. */}}
{{- define "fino1.podTemplate" -}}
{{- $unit := .unit -}}{{- $doc := $unit.doc -}}
{{- $labels := mergeOverwrite (include "fino1.podLabels" $unit | fromJson) (include "fino1.gangLabels" $unit | fromJson) $doc.podLabels -}}
{{- $annotations := mergeOverwrite (include "fino1.schedulingAnnotations" $unit | fromJson) $doc.podAnnotations -}}
metadata:
  labels: {{ toJson $labels }}
  {{- with $annotations }}
  annotations: {{ toJson . }}
  {{- end }}
spec:
  {{- include "fino1.scheduling" $unit | nindent 2 }}
  {{- include "fino1.podCommon" $unit | nindent 2 }}
  terminationGracePeriodSeconds: {{ toJson $doc.terminationGracePeriodSeconds }}
  {{- if and $unit.model (not $unit.model.base_url) }}
  initContainers:
    {{- include "fino1.served" $unit | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ toJson .container }}
      image: {{ include "fino1.image" (list $unit "") | toJson }}
      {{- $server := ternary (list "--server" "http://127.0.0.1:8000/v1") list (and (not (empty $unit.model)) (not $unit.model.base_url)) }}
      args: {{ concat (list (ternary "evaluate" "train" (not (empty $unit.model))) "--config" "/etc/fino1/config.json") $server | toJson }}
      {{- include "fino1.hardened" $unit | nindent 6 }}
      env: {{ include "fino1.env" (list $unit (include "fino1.launchEnv" $unit | fromJson)) }}
      {{- $limits := $doc.resources.limits }}
      {{- if not $unit.model }}{{- $limits = mergeOverwrite dict $limits (include "fino1.devices" $doc | fromJson) }}{{- end }}
      {{- include "fino1.resources" (list $doc.resources.requests $limits) | nindent 6 }}
{{- end -}}

{{/* What all pods of a unit share but the containers. */}}
{{- define "fino1.podCommon" -}}
serviceAccountName: {{ default .full .doc.serviceAccountName | toJson }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .doc.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ toJson . }}
  {{- end }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ toJson .full }}
  - name: work
    persistentVolumeClaim:
      claimName: {{ toJson .doc.volumes.work.claimName }}
  - name: models
    persistentVolumeClaim:
      claimName: {{ toJson .doc.volumes.models.claimName }}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ toJson .doc.shmSize }}
  - name: tmp
    emptyDir: {}
  {{- if .model }}
  - name: link
    emptyDir: {}
  {{- end }}
{{- end -}}
