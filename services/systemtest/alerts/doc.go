// Package alerts tests deploy/prometheus and deploy/grafana: every metric and label that they name exists, every alert fires
// on recorded series and names its section of the pages, and none fires on a healthy run.
package alerts
