package daemon

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/certificate"
)

// incidentCertificate is of certificate files that can't be read again.
const incidentCertificate = "CERTIFICATE_UNREADABLE"

// WatchCertificates notes files that have changed and can't be read: connections are made with what was read before, until that
// expires. use is what they are for, such as "grpc". The error is of files that can't be read now.
func (h *Health) WatchCertificates(use string, files certificate.Files) error {
	if files == (certificate.Files{}) {
		return nil
	}
	check, err := certificate.Watch(files)
	if err != nil {
		return fmt.Errorf("watch the certificates of %s: %w", use, err)
	}
	h.Note("certificates of "+use, func() []*Incident {
		if err := check(); err != nil {
			return []*Incident{{Code: incidentCertificate, Resource: use, Detail: err.Error() + ": those that were read before stay in use; write files that fit"}}
		}
		return nil
	})
	return nil
}
