{{- define "orders.migration" -}}
apiVersion: drydock.dev/v1alpha1
kind: Migration
metadata:
  name: {{ .Release.Name }}
spec:
  image: {{ .Values.image.repository }}:{{ .Values.image.tag }}
  alembic: {}
  database:
    urlFrom:
      secretKeyRef: {name: {{ .Values.database.secret }}, key: {{ .Values.database.key }}}
  dryRun:
    budgets:
      blocking: {{ .Values.drydock.blocking }}
{{- end }}
