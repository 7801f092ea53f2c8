package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// Evaluate posts an AuthZEN evaluation to the PDP at a URL, and returns the answer's
// status and body.
func Evaluate(ctx context.Context, baseURL, requestID string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/access/v1/evaluation", bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("asking for an evaluation: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-ID", requestID)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("asking for an evaluation: %w", err)
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, fmt.Errorf("reading an evaluation: %w", err)
	}
	return response.StatusCode, answer, nil
}
