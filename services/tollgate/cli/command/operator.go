package command

import "os/user"

// Operator names the user who runs the command, as far as the machine knows.
func Operator() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}
