import {
  ApiGatewayManagementApiClient,
  GoneException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, ScanCommand } from "@aws-sdk/lib-dynamodb";

const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const clients = new ApiGatewayManagementApiClient({ endpoint: process.env.CALLBACK_URL });

export const handler = async (event) => {
  const Data = JSON.stringify({ said: JSON.parse(event.body).data });
  const { Items } = await dynamodb.send(
    new ScanCommand({ TableName: process.env.TABLE_NAME, ProjectionExpression: "connectionId" }),
  );
  await Promise.all(
    Items.map(async ({ connectionId }) => {
      try {
        await clients.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data }));
      } catch (error) {
        if (!(error instanceof GoneException)) throw error;
      }
    }),
  );
  return { statusCode: 200 };
};
