{{- define "wal2graph.fullname" -}}
{{- if contains "wal2graph" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-wal2graph" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "wal2graph.selector" -}}
app.kubernetes.io/name: "wal2graph"
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "wal2graph.labels" -}}
{{ include "wal2graph.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- /* The programs of the release: name, and how many. */}}
{{- define "wal2graph.programs" -}}
{{- $single := ternary 2 1 .Values.standby }}
{{- if eq .Values.mode "direct" }}
- {command: run, replicas: {{ $single }}}
{{- else if eq .Values.mode "kafka" }}
- {command: publish, replicas: {{ $single }}}
- {command: apply, replicas: {{ .Values.appliers }}}
{{- else }}{{ fail "mode: expected direct or kafka" }}
{{- end }}
{{- end }}
