{{/* What all pods of a unit share but the containers. */}}
{{- define "fino1.podCommon" -}}
serviceAccountName: {{ .doc.serviceAccountName | default .full | quote }}
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
  - name: {{ quote . }}
  {{- end }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ quote .full }}
  - name: work
    persistentVolumeClaim:
      claimName: {{ quote .doc.volumes.work.claimName }}
  - name: models
    persistentVolumeClaim:
      claimName: {{ quote .doc.volumes.models.claimName }}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ quote .doc.shmSize }}
  - name: tmp
    emptyDir: {}
  {{- if .asked }}
  - name: link
    emptyDir: {}
  {{- end }}
{{- end -}}
