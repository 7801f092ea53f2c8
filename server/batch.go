package server

import (
	"context"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"golang.org/x/sync/errgroup"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// batchWidth is how many items of one batch are decided at a time.
const batchWidth = 16

// DecideBatch decides every item on its own.
func (s *Server) DecideBatch(ctx context.Context, caller decision.Caller, in *writv1.DecideBatchRequest) (*writv1.DecideBatchResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	out := &writv1.DecideBatchResponse{Results: make([]*writv1.BatchResult, len(in.Items))}
	var group errgroup.Group
	group.SetLimit(batchWidth)
	for i, item := range in.Items {
		group.Go(func() error {
			out.Results[i] = s.item(ctx, caller, item)
			return nil
		})
	}
	return out, group.Wait()
}

func (s *Server) item(ctx context.Context, caller decision.Caller, item *writv1.BatchItem) *writv1.BatchResult {
	result := &writv1.BatchResult{CorrelationId: item.CorrelationId}
	answer, err := s.decideItem(ctx, caller, item.Request)
	if err != nil {
		s.counts.refusal(ctx, err)
		st := status.Convert(err)
		failed := &writv1.BatchError{Code: int32(st.Code()), Message: st.Message()}
		for _, d := range st.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok {
				failed.Reason, failed.ReasonCode = info.Reason, info.Metadata[codeKey]
			}
		}
		result.Outcome = &writv1.BatchResult_Error{Error: failed}
		return result
	}
	result.Outcome = &writv1.BatchResult_Response{Response: answer}
	return result
}

// decideItem keeps a defect met by one item away from its neighbours; items run
// in goroutines of their own, out of reach of the server's recovery.
func (s *Server) decideItem(ctx context.Context, caller decision.Caller, in *writv1.DecideRequest) (answer *writv1.DecideResponse, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			answer, err = nil, s.panicked(cause)
		}
	}()
	if in == nil {
		return nil, invalidField("request", "value is required")
	}
	return s.Decide(ctx, caller, in)
}
