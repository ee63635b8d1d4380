{{- define "akprox.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "akprox.fullname" -}}
{{- $name := include "akprox.name" . -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "akprox.selector" -}}
app.kubernetes.io/name: {{ include "akprox.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "akprox.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "akprox.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: outpost
app.kubernetes.io/part-of: akprox
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "akprox.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "akprox.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "akprox.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "akprox.secretName" -}}
{{- default (printf "%s-secret" (include "akprox.fullname" .)) .Values.secret.existingSecret }}
{{- end }}

{{- define "akprox.prefix" -}}
{{- default "/akprox" (dig "server" "prefix" "" .Values.document) }}
{{- end }}

{{/* akprox.prefixes are the paths of akprox's own pages, as JSON: the document's prefix and the aliases that it names. */}}
{{- define "akprox.prefixes" -}}
{{- prepend (dig "server" "prefix_aliases" list .Values.document) (include "akprox.prefix" .) | toJson }}
{{- end }}

{{/* akprox.document is akprox.yaml: the values with what the chart knows. */}}
{{- define "akprox.document" -}}
{{- $doc := deepCopy .Values.document -}}
{{- $server := default dict (get $doc "server") -}}
{{- $_ := set $server "http" ":9000" -}}
{{- $_ := set $server "metrics" ":9300" -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $server "https" ":9443" -}}
{{- $_ := set $server "tls" (dict "cert_file" "/etc/akprox/tls/tls.crt" "key_file" "/etc/akprox/tls/tls.key") -}}
{{- else -}}
{{- $_ := set $server "https" "" -}}
{{- end -}}
{{- if .Values.grpc.enabled -}}
{{- $_ := set $server "grpc" ":9191" -}}
{{- end -}}
{{- $_ := set $doc "version" 1 -}}
{{- $_ := set $doc "server" $server -}}
{{- $secrets := list -}}
{{- range prepend .Values.secret.previousKeys .Values.secret.key -}}
{{- $secrets = append $secrets (dict "file" (printf "/etc/akprox/secret/%s" .)) -}}
{{- end -}}
{{- $_ := set $doc "secret" (len $secrets | eq 1 | ternary (first $secrets) $secrets) -}}
{{- $store := dict "kind" .Values.store.kind -}}
{{- if eq .Values.store.kind "disk" -}}
{{- $_ := set $store "path" "/data/akprox-data" -}}
{{- else if eq .Values.store.kind "redis" -}}
{{- $store = merge $store .Values.store.redis -}}
{{- end -}}
{{- $_ := set $doc "store" $store -}}
{{- toYaml $doc -}}
{{- end }}

{{/* akprox.hosts is a JSON list: where browsers reach the outpost's pages. */}}
{{- define "akprox.hosts" -}}
{{- $hosts := .Values.hosts -}}
{{- if and (not $hosts) (not .Values.existingConfigMap.name) -}}
{{- range default list .Values.document.applications -}}
{{- $hosts = append $hosts (regexReplaceAll ":[0-9]+$" (urlParse (toString .external_url)).host "" | lower | trimSuffix ".") -}}
{{- end -}}
{{- end -}}
{{- uniq $hosts | toJson -}}
{{- end }}

{{/* akprox.identityHeaders is a JSON list: what an application's program is told,
     and what its client sent for akprox alone. It gets the root and an application. */}}
{{- define "akprox.identityHeaders" -}}
{{- $presets := dict
  "akprox" (list "X-Auth-Username" "X-Auth-Groups" "X-Forwarded-Email" "X-Forwarded-Preferred-Username" "X-Forwarded-User")
  "authentik" (list "X-Authentik-Username" "X-Authentik-Groups" "X-Authentik-Entitlements" "X-Authentik-Email" "X-Authentik-Name" "X-Authentik-Uid" "X-Authentik-Meta-Outpost" "X-Authentik-Meta-Provider" "X-Authentik-Meta-App" "X-Authentik-Meta-Version" "X-Authentik-Meta-Jwks")
  "remote" (list "Remote-User" "Remote-Groups" "Remote-Email" "Remote-Name")
  "gateway" (list "X-User-Id" "X-User-Email" "X-User-Scope")
  "user-json" (list "X-User") -}}
{{- $headers := default dict .application.headers -}}
{{- $names := get $presets (default "akprox" $headers.preset) -}}
{{- range $name, $source := default dict $headers.set -}}
{{- $names = append $names ($name | lower | replace "-" " " | title | replace " " "-") -}}
{{- end -}}
{{- if and .application.credentials (not $headers.pass_token) -}}
{{- $names = append $names "Authorization" -}}
{{- range $provider := .root.Values.document.providers -}}
{{- if and (eq $provider.kind "apikey") (has $provider.name $.application.credentials) -}}
{{- $names = append $names "X-Api-Key" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- uniq $names | toJson -}}
{{- end }}

{{/* akprox.volumes and akprox.mounts: what the outpost reads. */}}
{{- define "akprox.volumes" -}}
- name: secret
  secret:
    secretName: {{ include "akprox.secretName" . }}
    defaultMode: 0440
{{- range $number, $name := .Values.secrets }}
- name: secret-{{ $number }}
  secret:
    secretName: {{ $name }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "akprox.mounts" -}}
- name: document
  mountPath: /etc/akprox/document
  readOnly: true
- name: secret
  mountPath: /etc/akprox/secret
  readOnly: true
{{- range $number, $name := .Values.secrets }}
- name: secret-{{ $number }}
  mountPath: /etc/akprox/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: tls
  mountPath: /etc/akprox/tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* akprox.wrong fails with a sentence where values contradict each other. */}}
{{- define "akprox.wrong" -}}
{{- $v := .Values -}}
{{- $many := or $v.autoscaling.enabled (gt (int $v.replicas) 1) -}}
{{- if and $many (eq $v.store.kind "disk") -}}
{{- fail "replicas: a disk store belongs to one pod, so another would not know its sessions. Set store.kind to redis, or replicas to 1 and autoscaling.enabled to false." -}}
{{- end -}}
{{- if and $many (eq $v.store.kind "memory") -}}
{{- range default list $v.document.providers -}}
{{- if has .kind (list "oidc" "password" "knock") -}}
{{- fail (printf "replicas: each pod has a memory store of its own, and would not know who signed in at another (provider %q is of kind %s). Set store.kind to redis, or replicas to 1." .name .kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.store.kind "redis") (not $v.store.redis) (not $v.existingConfigMap.name) -}}
{{- fail "store.redis: say where your Redis is; the chart brings none. See docs/kubernetes.md." -}}
{{- end -}}
{{- if and $v.store.redis (ne $v.store.kind "redis") -}}
{{- fail (printf "store.redis is set, but store.kind is %s. Set store.kind to redis, or remove store.redis." $v.store.kind) -}}
{{- end -}}
{{- if and (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) $v.autoscaling.enabled -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas." -}}
{{- end -}}
{{- if le (int $v.terminationGracePeriodSeconds) (add (int $v.preStopSeconds) 42 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds has to be more than preStopSeconds and the 42 s that requests under way and refreshes of sessions have: more than %d." (add (int $v.preStopSeconds) 42)) -}}
{{- end -}}
{{- if $v.existingConfigMap.name -}}
{{- if or $v.document.applications $v.document.providers -}}
{{- fail "existingConfigMap.name is set, and so are document.applications or document.providers. The document comes from one place: empty one of them." -}}
{{- end -}}
{{- if $v.traefik.middleware.enabled -}}
{{- fail "traefik.middleware is made of the document's applications, which the chart cannot read in an existing ConfigMap. Use what akprox snippet traefik-crd prints, and set traefik.middleware.enabled to false." -}}
{{- end -}}
{{- end -}}
{{- range $key := list "version" "secret" "store" -}}
{{- if hasKey $v.document $key -}}
{{- fail (printf "document.%s is written by the chart. %s" $key (get (dict "version" "Remove it." "secret" "Set secret.existingSecret instead." "store" "Set store.kind instead.") $key)) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "http" "https" "metrics" "tls" "grpc" -}}
{{- if hasKey (default dict $v.document.server) $key -}}
{{- fail (printf "document.server.%s is written by the chart: its ports are those of the Service (service.port and its like), and HTTPS comes from tls.existingSecret." $key) -}}
{{- end -}}
{{- end -}}
{{- $pages := list -}}
{{- if $v.ingress.enabled }}{{ $pages = append $pages "ingress" }}{{ end -}}
{{- if $v.httpRoute.enabled }}{{ $pages = append $pages "httpRoute" }}{{ end -}}
{{- if $v.traefik.ingressRoute.enabled }}{{ $pages = append $pages "traefik.ingressRoute" }}{{ end -}}
{{- if and $pages (not (include "akprox.hosts" . | fromJsonArray)) -}}
{{- fail (printf "%s: for which hosts? Name them under hosts, or under document.applications with their external_url." (first $pages)) -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: name the Gateway that the HTTPRoute belongs to." -}}
{{- end -}}
{{- if and $v.secret.previousKeys (not $v.secret.existingSecret) -}}
{{- fail "secret.previousKeys are keys of a Secret of yours: set secret.existingSecret." -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.proxies) -}}
{{- fail "networkPolicy.proxies: name your proxy's pods, or nobody could ask the outpost." -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (eq $v.store.kind "redis") (not $v.networkPolicy.egress.redis) -}}
{{- fail "networkPolicy.egress.redis: name your Redis, or the outpost could not reach its store." -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.egress.extra) -}}
{{- include "akprox.outside" . -}}
{{- end -}}
{{- end }}

{{/* akprox.outside fails where a URL of the document is on a port that the NetworkPolicy closes. */}}
{{- define "akprox.outside" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- range concat (default list .Values.document.providers) (default list .Values.document.applications) -}}
{{- with coalesce .url .jwks_url .backchannel_url .issuer .upstream -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "http" | ternary "80" "443") -}}
{{- if not (and $egress.issuers (has $port (toStrings $egress.issuerPorts))) -}}
{{- fail (printf "networkPolicy.egress: the outpost could not reach %s://%s. Add port %s to issuerPorts, or write a rule for it under extra." $url.scheme $url.host $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
