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
      # So long may a request wait behind the rehearsal; clients and readiness probes of this service have more patience.
      blocking: 4s
{{- end }}
